import importlib.util
import json
from pathlib import Path

spec = importlib.util.spec_from_file_location("scripts_conftest", Path(__file__).with_name("conftest.py"))
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)


def test_scores_what_the_training_scored(translator, pairs, tmp_path):
    _, directory = translator
    output = tmp_path / "translations.txt"
    done = conftest.run("evaluate_translation.py", directory, test_file=pairs / "test.tsv", output_file=output)
    assert done.returncode == 0, done.stderr
    scores = json.loads((directory / "test_metrics.json").read_text())
    assert done.stdout.splitlines() == [
        f"BLEU {scores['bleu']:.2f} ({scores['bleu_signature']})",
        f"chrF {scores['chrf']:.2f} ({scores['chrf_signature']})",
    ]
    assert output.read_text() == (directory / "test_translations.txt").read_text()

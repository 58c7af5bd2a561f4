import json
import runpy
import sys

import pytest
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from . import running


@pytest.mark.slow
def test_scores_what_the_training_scored(translator, pairs, tmp_path):
    _, directory = translator
    output = tmp_path / "translations.txt"
    done = running.run("evaluate_translation.py", directory, test_file=pairs / "test.tsv", output_file=output)
    assert done.returncode == 0, done.stderr
    scores = json.loads((directory / "test_metrics.json").read_text())
    assert done.stdout.splitlines() == [
        f"BLEU {scores['bleu']:.2f} ({scores['bleu_signature']})",
        f"chrF {scores['chrf']:.2f} ({scores['chrf_signature']})",
    ]
    assert output.read_text() == (directory / "test_translations.txt").read_text()


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        (("--test_file", "te.tsv"), "te.tsv", "te.tsv would replace the input te.tsv"),
        (("--dataset_name", "data"), "data/test.tsv", "data/test.tsv would replace the input data/test.tsv"),
        (("--test_file", "te.tsv"), "m/config.json", "m/config.json would replace a file of the model in m"),
    ],
)
def test_what_is_read_is_not_replaced(tmp_path, monkeypatch, capsys, source, output, message):
    """It is told before anything is read: the model and the data are none."""
    monkeypatch.chdir(tmp_path)
    for name in ("te.tsv", "data/test.tsv", "m/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    monkeypatch.setattr(sys, "argv", ["evaluate_translation.py", "m", *source, "--output_file", output])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(running.SCRIPTS / "evaluate_translation.py"), run_name="__main__")
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}; name another file for the output\n"
    assert (tmp_path / output).read_text() == "precious"


@pytest.mark.slow
def test_a_multilingual_model_needs_a_language(pairs, tmp_path):
    tokenizer = NllbTokenizer()
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    model = M2M100ForConditionalGeneration(M2M100Config(**sizes, **heads, vocab_size=len(tokenizer)))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    options = {"test_file": pairs / "test.tsv", "max_new_tokens": 4}
    done = running.run("evaluate_translation.py", tmp_path, **options)
    assert done.returncode == 2
    assert "give the target language" in done.stderr.splitlines()[-1]
    done = running.run("evaluate_translation.py", tmp_path, **options, source_lang="eng_Latn", target_lang="deu_Latn")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BLEU ")

"""The model card of a run: what the Hub reads of it, what a reader sees, what its code does, and whose files stay."""

import io
import json
import re
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from transformers import AutoTokenizer

import triptych
from triptych.hub import code_files
from triptych.tokenization import special_token_config, train_tokenizer
from triptych.training import LoopArguments
from triptych.training.card import Run, write_card
from triptych.training.card.curve import draw, limits, panels, read_series
from triptych.training.card.markdown import block, code, command, plain, table
from triptych.training.card.metadata import card_data
from triptych.training.card.text import body, changed_options
from triptych.training.card.uses import USES, use
from triptych.training.loop import TrainingResult
from triptych.training.run_directory import check_output_dir
from triptych.training.run_directory.directory import start_run
from triptych.training.run_directory.record import CARD_FILE, CURVE_FILE, recorded
from triptych.training.script import command_of, train
from triptych.training.tasks.translation import TranslationArguments, TranslationTask

PNG = b"\x89PNG\r\n\x1a\n"
HOSTILE = "`a` | b\n---\n# <b> ```[x](y) *z*"
WORDS = {"one": "eins", "two": "zwei", "red": "rot", "house": "Haus", "tree": "Baum"}


def write_data(directory: Path) -> None:
    for split, size in (("train", 40), ("validation", 6), ("test", 5)):
        rows = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS][:size]
        lines = [f"{row}\t{' '.join(WORDS[word] for word in row.split())}" for row in rows]
        (directory / f"{split}.tsv").write_text("source\ttarget\n" + "\n".join(lines) + "\n")


def options_of(data: Path, output_dir: Path, steps: int = 4, *more: str) -> list[str]:
    files = [word for split in ("train", "validation", "test") for word in (f"--{split}_file", f"{data / split}.tsv")]
    tiny = "--preset tiny --hidden_size 16 --num_attention_heads 2 --intermediate_size 32 --encoder_layers 1"
    tiny += " --decoder_layers 1 --tokenizer_model word --vocab_size 40 --max_tokens 300 --warmup_steps 2"
    tiny += " --logging_steps 1 --evaluation_steps 2 --cpu --cpu_threads 1 --report_to none --seed 7 --num_beams 1"
    return [*files, *tiny.split(), "--max_steps", str(steps), "--output_dir", str(output_dir), *more]


@pytest.fixture(scope="module")
def data(once):
    """The folder of the data, in which a run has ended, too."""

    def fill(folder):
        write_data(folder)
        AcceleratorState._reset_state(True)
        with redirect_stdout(io.StringIO()) as output:
            train(TranslationTask, args=options_of(folder, folder / "my model"))
        (folder / "output.txt").write_text(output.getvalue())

    return once("run-with-a-card", fill)


@pytest.fixture(scope="module")
def trained(data):
    """The directory of the run, and what it has written on standard output."""
    return data / "my model", (data / "output.txt").read_text()


def block_of(text: str, language: str) -> str:
    """The only block of a language in a page."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def words_of(typed: str) -> list[str]:
    """The words of a command, which may be broken into lines."""
    return shlex.split(typed.replace("\\\n", ""))


def copy_of(directory: Path, target: Path) -> Path:
    for path in directory.rglob("*"):
        if path.is_file():
            (target / path.relative_to(directory)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(directory)).write_bytes(path.read_bytes())
    return target


def test_the_hub_reads_its_metadata(trained):
    directory, _ = trained
    card = ModelCard.load(directory / CARD_FILE)
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "translation")
    assert card.data.model_name == "my model"
    assert card.data.get("base_model") is None
    assert card.data.get("datasets") is None
    scores = json.loads((directory / "test_metrics.json").read_text())
    measured = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert measured["test", "bleu"] == pytest.approx(scores["bleu"])
    assert {split for split, _ in measured} == {"validation", "test"}
    assert {r.dataset_name for r in card.data.eval_results} == {"validation.tsv", "test.tsv"}
    assert {"loss", "bleu", "chrf"} <= set(card.data.metrics)
    last = json.loads((directory / "metrics.jsonl").read_text().splitlines()[-1])
    assert measured["validation", "loss"] == last["validation_loss"]


def test_a_reader_sees_data_sizes_options_results_and_the_command(trained, data):
    directory, _ = trained
    text = (directory / CARD_FILE).read_text()
    assert "| `train` | 40 | `train.tsv` |" in text
    model = triptych.TriptychForConditionalGeneration.from_pretrained(directory)
    assert f"| parameters | {model.num_parameters():,} |" in text
    assert "| layers | 1+1 |\n| d_model | 16 |" in text
    assert "| `warmup_steps` | `2` |" in text
    assert "| `seed` | `7` |" in text
    assert "| `adam_beta1`" not in text  # it is the default
    assert f"]({CURVE_FILE})" in text
    assert "bleu_signature" in text
    assert str(Path.home()) not in text
    assert words_of(block_of(text, "bash"))[-len(options_of(data, directory)) :] == options_of(data, directory)


def test_its_code_runs(trained, monkeypatch, capsys):
    directory, _ = trained
    monkeypatch.chdir(directory.parent)
    exec(block_of((directory / CARD_FILE).read_text(), "python"), {})
    assert "translation_text" in capsys.readouterr().out


def test_it_says_how_to_load_the_model_without_the_package(trained, monkeypatch):
    directory, _ = trained
    monkeypatch.chdir(directory.parent)
    [code] = re.findall("`(transformers[.].*trust_remote_code=True.)`", (directory / CARD_FILE).read_text())
    assert code.startswith("transformers.AutoModelForSeq2SeqLM.")
    assert type(eval(code, {"transformers": transformers})) is triptych.TriptychForConditionalGeneration
    assert {path.name for path in directory.glob("*_triptych.py")} == {*code_files()}


def test_the_curve_is_a_picture_of_the_records(trained):
    directory, _ = trained
    series = read_series(directory / "metrics.jsonl")
    assert [step for step, _ in series["loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in series["validation_loss"]] == [2, 4]
    assert {"loss", "validation_loss"} <= {*panels(series)[0]}
    assert ["bleu"] in panels(series)
    assert (directory / CURVE_FILE).read_bytes().startswith(PNG)


def test_results_go_to_standard_output_and_the_summary_does_not(trained):
    _, output = trained
    first, *scores = output.splitlines()[-3:]
    assert first.startswith("4 updates in ")
    assert [line.split()[:2] for line in scores] == [["test", "BLEU"], ["test", "chrF"]]
    assert "vocabulary" not in output


def test_both_files_belong_to_the_run(trained):
    directory, _ = trained
    assert {CARD_FILE, CURVE_FILE} <= recorded(directory)


@pytest.mark.slow
def test_a_resumed_run_writes_its_card_anew(trained, data, tmp_path):
    directory = copy_of(trained[0], tmp_path / "run")
    before = (directory / CARD_FILE).read_text()
    AcceleratorState._reset_state(True)
    train(TranslationTask, args=options_of(data, directory, 5, "--resume"))
    text = (directory / CARD_FILE).read_text()
    assert text != before
    assert "5 updates in" in text
    assert "--resume" not in text


def test_a_card_of_a_user_is_in_nobodys_way(trained, tmp_path):
    directory = copy_of(trained[0], tmp_path / "run")
    record = json.loads((directory / "run.json").read_text())
    record["files"] = [name for name in record["files"] if name not in (CARD_FILE, CURVE_FILE)]
    (directory / "run.json").write_text(json.dumps(record))
    check_output_dir(directory, resume=True)
    check_output_dir(directory, overwrite=True)


# ---- what the parts do with any text ------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run whose names, remarks and options are full of marks of Markdown and YAML."""
    arguments = TranslationArguments(train_file=[f"/secret/{HOSTILE}.tsv"], preset="tiny", copied_targets=0.5)
    task = TranslationTask(arguments, {"activation": "re|lu"})
    task.data, task.remarks = {"train": range(3)}, [HOSTILE]
    config = triptych.TriptychConfig.from_preset("tiny", vocab_size=20)
    with torch.device("meta"):
        task.model = triptych.TriptychForConditionalGeneration(config)
    task.tokenizer = task.target_tokenizer = SimpleNamespace()
    result = TrainingResult(tmp_path, 3, 1.0, {"validation_loss": float("nan"), "validation_x": 2.0}, None)
    loop = LoopArguments(str(tmp_path / "a: [b] - c"), max_steps=3)
    scores = {"bleu": 1.5, "bleu_signature": HOSTILE}
    return Run(task=task, arguments=loop, result=result, scores=scores, command=f"a\n{HOSTILE}", device="1 × cpu")


def test_a_card_that_nobody_has_changed_is_written_anew(run):
    file = Path(run.arguments.output_dir, CARD_FILE)
    start_run(file.parent, {}, {})
    assert write_card(run) == []
    before = file.read_text()
    assert write_card(replace(run, device="2 × cpu")) == []
    assert "2 × cpu" in file.read_text()
    assert "2 × cpu" not in before


@pytest.mark.parametrize("change", ["other", "more", "link"])
def test_what_a_user_has_written_stays(run, tmp_path, change):
    file = Path(run.arguments.output_dir, CARD_FILE)
    start_run(file.parent, {}, {})
    write_card(run)
    if change == "link":
        file.unlink()
        (tmp_path / "notes.md").write_text("mine")
        file.symlink_to(tmp_path / "notes.md")
    else:
        file.write_text("mine" if change == "other" else file.read_text().replace("A model for", "My model for"))
    before = file.read_text()
    assert write_card(run) == [f"{file} is kept, because a user has written it: no card is written"]
    assert file.read_text() == before
    assert file.is_symlink() == (change == "link")


def test_files_that_no_run_has_written_stay(run):
    directory = Path(run.arguments.output_dir)
    start_run(directory, {}, {})
    for name in (CARD_FILE, CURVE_FILE):
        (directory / name).write_text("mine")
    assert [remark.partition(" is kept")[0] for remark in write_card(run)] == [
        str(directory / CURVE_FILE),
        str(directory / CARD_FILE),
    ]
    assert (directory / CARD_FILE).read_text() == (directory / CURVE_FILE).read_text() == "mine"


def test_without_matplotlib_the_card_has_no_curve_and_it_is_told(run, monkeypatch):
    directory = Path(run.arguments.output_dir)
    start_run(directory, {}, {})
    (directory / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    [remark] = write_card(run)
    assert remark.startswith("the card has no curve: ")
    assert CURVE_FILE not in (directory / CARD_FILE).read_text()


def test_no_text_breaks_the_yaml(run):
    read = ModelCard(f"---\n{card_data(run).to_yaml()}\n---\n\n{body(run, None)}").data
    assert read.model_name == "a: [b] - c"
    assert {r.metric_type for r in read.eval_results} == {"x", "bleu"}  # and not the loss, which is not finite
    assert all(name.endswith(".tsv") and "secret" not in name for name in {run.source("train")})


def test_no_text_breaks_the_page(run):
    text = body(run, None)
    headings = [line for line in re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", text).splitlines() if line.startswith("#")]
    assert headings == [
        "# a: \\[b\\] - c",
        *(f"## {name}" for name in ("How to use it", "Results", "Data", "Model", "Training", "Versions")),
    ]
    tables = [group.splitlines() for group in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]
    assert len(tables) == 5
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "/secret" not in text


@pytest.mark.parametrize("text", ["", "a", "`", "``a`", "a|b", "a\nb", "\\", HOSTILE])
def test_code_shows_a_text_as_it_is(text):
    shown = code(text)
    marks = re.match("`+", shown)[0]
    assert shown.endswith(marks)
    inner = shown[len(marks) : -len(marks)]
    assert marks not in re.findall("`+", inner)
    assert inner.strip() == " ".join(text.split())
    assert "\n" not in shown


def test_plain_text_has_no_marks():
    assert plain("*a* [b](c) <d>") == r"\*a\* \[b\](c) \<d\>"


def test_a_block_ends_where_it_should():
    assert block("a\n```\nb") == "````\na\n```\nb\n````"


def test_a_table_has_the_cells_that_it_got():
    assert table(("a", "b"), [("1|2", "3")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


def test_a_long_command_is_broken_between_options():
    words = ["triptych", "train-translation", *(w for i in range(20) for w in (f"--option_{i}", f"a 'value' {i}"))]
    typed = command(words)
    assert words_of(typed) == words
    assert max(map(len, typed.splitlines())) <= 102
    assert command(["triptych", "zoo", "--notes"]) == "triptych zoo --notes"


@pytest.mark.parametrize(
    ("argv", "typed"),
    [
        (["triptych zoo", "--resume", "a b"], "triptych zoo 'a b'"),
        (["scripts/zoo.py", "--notes"], "python scripts/zoo.py --notes"),
        (["/home/someone/zoo.py", "--overwrite"], "python zoo.py"),
        (["x.py", "--model", "hf_abcdefghijklmnopqrstuvwxyz"], "python x.py --model '***'"),
        (["x.py", "https://me:secret@hub.co/x"], "python x.py 'https://***@hub.co/x'"),
    ],
)
def test_the_command_is_what_one_types(monkeypatch, argv, typed):
    monkeypatch.setattr("sys.argv", argv)
    assert command_of() == typed


def test_only_options_that_were_changed_are_told():
    told = changed_options(LoopArguments("x", max_steps=3, learning_rate=1e-3))
    assert told == {
        "max_steps": "3",
        "learning_rate": "0.001",
        "optimizer": "adamw",
        "lr_scheduler": "noam",
        "seed": "0",
    }


def test_a_name_of_the_hub_is_linked_and_a_path_is_not(run, tmp_path):
    run.task.arguments.model, run.task.arguments.dataset_name = "google/t5", "wmt/wmt14"
    data = card_data(run)
    assert (data.base_model, data.datasets) == ("google/t5", ["wmt/wmt14"])
    run.task.arguments.model = run.task.arguments.dataset_name = str(tmp_path)
    data = card_data(run)
    assert (data.base_model, data.datasets) == (None, None)
    assert str(tmp_path.parent) not in body(run, None)


def test_languages_of_the_shipped_corpus(run):
    run.task.arguments.corpus = "en-de"
    assert card_data(run).language == ["en", "de"]


def test_a_metric_that_does_not_change_is_a_flat_line_with_plain_numbers():
    for values, least in (([0.5, 0.5], 0.05), ([0.0], 0.1), ([0.8, 0.8 + 1e-9], 0.05), ([-3.0, -3.0], 0.2)):
        low, high = limits(values)
        assert low < min(values)
        assert high > max(values)
        assert high - low > least
    assert limits([0.2, 0.4]) == pytest.approx((0.19, 0.41))  # what changes fills the picture
    assert draw({"accuracy": [(10, 0.5), (20, 0.5 + 1e-9)], "loss": [(1, 2.0)]}).startswith(PNG)


def test_nothing_to_draw():
    assert draw({}) is None


SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
CLASSES = {
    "translation": ("encoder-decoder", triptych.TriptychForConditionalGeneration),
    "summarization": ("encoder-decoder", triptych.TriptychForConditionalGeneration),
    **dict.fromkeys(
        (
            kind + texts
            for kind in ("text-classification", "several labels", "regression")
            for texts in ("", " of pairs")
        ),
        ("encoder", triptych.TriptychEncoderForSequenceClassification),
    ),
    "token-classification": ("encoder", triptych.TriptychEncoderForTokenClassification),
    "text-generation": ("decoder", triptych.TriptychDecoderForCausalLM),
    "fill-mask": ("encoder", triptych.TriptychEncoderForMaskedLM),
    "question-answering": ("encoder", triptych.TriptychEncoderForQuestionAnswering),
    None: ("encoder", triptych.TriptychEncoderForPreTraining),
}


PROBLEM_TYPES = {"several labels": "multi_label_classification", "regression": "regression"}


def test_the_code_for_labels_shows_what_the_model_has_learnt(tmp_path, monkeypatch, capsys):
    """A number is shown as it is, not as a probability; and of a pair, the model reads both texts."""

    def answer(*inputs, **options):
        asked.append((inputs, options))
        return [{"label": "LABEL_0", "score": 7.5}] if not options else [[{"label": "a", "score": 0.6}]]

    asked = []
    monkeypatch.setattr(triptych, "pipeline", lambda *_, **__: answer)
    for kind, shown in (("regression", "7.5"), ("text-classification", "LABEL_0 7.5"), ("several labels", "['a']")):
        for texts in ("", " of pairs"):
            exec(use(kind + texts, "x", "TriptychEncoderForSequenceClassification"), {})
            assert capsys.readouterr().out.strip() == shown
            [[[given]], options] = asked.pop()
            assert (set(given) == {"text", "text_pair"}) == bool(texts)
            assert options == ({"top_k": None} if kind == "several labels" else {})


def test_every_task_of_a_pipeline_has_a_model_here():
    assert CLASSES.keys() == {*USES, None}


@pytest.mark.parametrize("tag", CLASSES)
def test_the_code_for_each_task_runs(tag, tmp_path, monkeypatch, capsys):
    family, model_class = CLASSES[tag]
    tokenizer = train_tokenizer(["The window is open.", "Where is the key?"] * 3, "bpe", 300, family=family)
    layers = {"encoder_layers": 1, "decoder_layers": 1} if family == "encoder-decoder" else {"num_hidden_layers": 1}
    config = model_class.config_class(**SIZES, **layers, **special_token_config(tokenizer, family=family))
    config.problem_type = PROBLEM_TYPES.get(str(tag).removesuffix(" of pairs"))
    config.num_labels = 1 if config.problem_type == "regression" else 3
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    model = model_class(config)
    if model.can_generate():
        model.generation_config.update(max_new_tokens=4)
    model.save_pretrained('a "name"')
    tokenizer.save_pretrained('a "name"')
    exec(use(tag, 'a "name"', model_class.__name__), {})
    assert capsys.readouterr().out.strip()
    assert AutoTokenizer.from_pretrained('a "name"') is not None

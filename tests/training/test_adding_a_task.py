"""The task that docs/adding-a-task.md adds, taken from that page, is trained, evaluated, tested and resumed."""

import json
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoTokenizer

import triptych.commands as commands
from triptych import TriptychEncoderForSequenceClassification
from triptych.tokenization import train_tokenizer
from triptych.training import LoopArguments, tasks
from triptych.training.command_line import run_script
from triptych.training.training import Training

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-task.md"
TASK, COMMAND = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
NAME = f"{tasks.__name__}.language"
OPTIONS = {
    "preset": "tiny-encoder",
    "tokenizer_model": "word",
    "vocab_size": 60,
    "max_tokens": 600,
    "cpu": True,
    "lr_scheduler": "constant",
    "learning_rate": 3e-3,
    "warmup_steps": 5,
    "report_to": "none",
    "cpu_threads": 1,
    "max_steps": 60,
    "save_steps": 15,
    "evaluation_steps": 30,
    "logging_steps": 5,
    "dropout": 0.1,
}


@pytest.fixture
def task_class(monkeypatch):
    """The class of the page, as if its module lay in tasks/."""
    module = types.ModuleType(NAME)
    module.__package__ = tasks.__name__
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(TASK, str(PAGE), "exec"), vars(module))
    AcceleratorState._reset_state(True)
    return module.LanguageTask


@pytest.fixture
def data(tmp_path):
    """The language is the only animal among other words."""
    animals, words = ("cat", "dog", "owl"), ("the", "a", "old", "red", "saw", "ran")
    lines = [f"{a} {b} {animal} {c}\t{animal}" for a in words for b in words for c in words for animal in animals]
    generator = torch.Generator().manual_seed(0)
    lines = [lines[i] for i in torch.randperm(len(lines), generator=generator)]
    files = {}
    for split, rows in (("train", lines[:400]), ("validation", lines[400:420]), ("test", lines[420:450])):
        files[f"{split}_file"] = tmp_path / f"{split}.tsv"
        files[f"{split}_file"].write_text("text\tlanguage\n" + "\n".join(rows) + "\n")
    return files


def run_command(monkeypatch, **options):
    """Runs the command of the page, as if its module lay in commands/."""
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value) if word is not True]
    monkeypatch.setattr(sys, "argv", ["triptych finetune-language", *words])
    module = {"__name__": f"{commands.__name__}.finetune_language", "__package__": commands.__name__}
    exec(compile(COMMAND, str(PAGE), "exec"), module)
    run_script(module["main"])


def test_the_page_adds_a_task(task_class, data, tmp_path, monkeypatch, capsys):
    run_command(monkeypatch, **OPTIONS, **data, output_dir=tmp_path / "run")
    output, said = capsys.readouterr()
    assert "data        400 train, 20 validation, 30 test texts, vocabulary" in said
    assert "tiny-encoder: " in said
    scores = json.loads((tmp_path / "run/test_metrics.json").read_text())
    assert scores["accuracy"] > 0.9
    assert f"test accuracy {scores['accuracy']:.4g}" in output
    assert len((tmp_path / "run/test_predictions.txt").read_text().splitlines()) == 30
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if {"accuracy", "validation_loss"} <= r.keys()] == [30, 60]

    card = ModelCard.load(tmp_path / "run/README.md")
    assert (card.data.pipeline_tag, card.data.metrics) == ("text-classification", ["loss", "perplexity", "accuracy"])
    assert "\ntriptych finetune-language --preset tiny-encoder" in card.text

    model = TriptychEncoderForSequenceClassification.from_pretrained(tmp_path / "run")
    inputs = AutoTokenizer.from_pretrained(tmp_path / "run")(["a red owl ran"], return_tensors="pt")
    assert model.config.id2label[model(**inputs).logits.argmax().item()] == "owl"


def test_a_resumed_run_equals_an_unbroken_one(task_class, data, tmp_path, monkeypatch):
    run_command(monkeypatch, **OPTIONS, **data, output_dir=tmp_path / "unbroken")
    updates = iter(range(100))

    def loss_until_the_kill(self, model, piece, items):
        if model.training and next(updates) == 17:
            raise InterruptedError("the process ends here")
        return model(**piece, **items).loss

    with monkeypatch.context() as patches:
        patches.setattr(task_class, "loss", loss_until_the_kill)
        with pytest.raises(SystemExit):
            run_command(patches, **OPTIONS, **data, output_dir=tmp_path / "killed")
    assert (tmp_path / "killed/checkpoint-15").is_dir()
    run_command(monkeypatch, **OPTIONS, **data, output_dir=tmp_path / "killed", resume=True)
    unbroken, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "killed"))
    assert all(torch.equal(tensor, killed[name]) for name, tensor in unbroken.items())
    metrics = [(tmp_path / name / "test_metrics.json").read_text() for name in ("unbroken", "killed")]
    assert metrics[0] == metrics[1]


def test_a_language_that_was_not_learnt_is_named(task_class, data, tmp_path, monkeypatch, capsys):
    data["validation_file"].write_text("text\tlanguage\nthe old cow\tcow\n")
    with pytest.raises(SystemExit):
        run_command(monkeypatch, **OPTIONS, **data, output_dir=tmp_path / "run")
    error = capsys.readouterr().err
    assert "error: validation data: the language 'cow' is not among those of the training data" in error
    assert not (tmp_path / "run").exists()


@pytest.fixture
def streamed(task_class):
    """The task of the page over a stream."""

    class Streamed(task_class):
        def load_data(self, seed):
            data, remarks = super().load_data(seed)
            return {**data, "train": data["train"].to_iterable_dataset().shuffle(seed, buffer_size=50)}, remarks

        def named_tokenizers(self):
            return train_tokenizer(["the a old red saw ran cat dog owl"], "word", 60, "encoder"), None

        def rows(self, split):
            if split != "train":
                return super().rows(split)
            number_of = self.config.label2id
            encoded = self.data[split].map(
                lambda row: self.encode(row["text"]) | {"labels": number_of[row["language"]]}
            )
            return encoded.select_columns(["input_ids", "labels"])

    return Streamed


def test_a_task_can_have_a_stream(streamed, data, tmp_path):
    def training(name, **options):
        AcceleratorState._reset_state(True)
        names = LoopArguments.__dataclass_fields__
        loop = LoopArguments(str(tmp_path / name), **{k: v for k, v in (OPTIONS | options).items() if k in names})
        files = {split: [str(path)] for split, path in data.items()}
        arguments = streamed.arguments_class(preset="tiny-encoder", tokenizer="given", max_tokens=600, **files)
        return Training(streamed(arguments, {"dropout": 0.1}), loop)

    unbroken = training("unbroken", max_steps=25)
    assert "a stream to train, 20 validation, 30 test texts" in "\n".join(unbroken.summary())
    unbroken.run()
    assert unbroken.loop.state.epoch > 0
    assert unbroken.test()["accuracy"] > 0.5
    training("killed", max_steps=15).run()
    training("killed", max_steps=25, resume=True).run()
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "killed")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_task_fits_on_a_page():
    assert len(TASK.splitlines()) <= 100
    assert len(COMMAND.splitlines()) <= 40

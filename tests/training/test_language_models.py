"""Runs of the tasks of language modelling: scores, predictions, divided updates, kills, streams, and refusals."""

import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from triptych.data import Division
from triptych.tokenization import save_tokenizers, train_tokenizer
from triptych.training.evaluation import total_items
from triptych.training.interruption import Interrupted
from triptych.training.script import parse_options, train
from triptych.training.tasks.causal_lm import CausalLMTask
from triptych.training.tasks.masked_lm import MaskedLMTask
from triptych.training.training import Training

from .tiny_run import signal_at

WORDS = (
    "the",
    "old",
    "red",
    "cat",
    "dog",
    "owl",
    "saw",
    "ran",
    "ate",
    "big",
    "small",
    "tree",
    "river",
    "stone",
    "sings",
)
OPTIONS = {
    "max_steps": 4,
    "lr_scheduler": "constant",
    "learning_rate": 3e-3,
    "warmup_steps": 2,
    "logging_steps": 1,
    "max_tokens": 200,
    "vocab_size": 300,
    "block_size": 24,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "cpu_threads": 1,
    "cpu": True,
    "report_to": "none",
}
TASKS = {  # what is trained, and its options
    "packed": (CausalLMTask, {}),
    "a document per row": (CausalLMTask, {"one_document_per_row": True}),
    "tokens": (MaskedLMTask, {}),
    "words": (MaskedLMTask, {"masking": "word"}),
    "spans": (MaskedLMTask, {"masking": "span"}),
    "pairs": (MaskedLMTask, {"next_sentence": True}),
}
SLOW = ("a document per row", "tokens", "words")  # the other kinds have all that differs
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW else []) for kind in TASKS]
STREAMS = ["packed", pytest.param("a document per row", marks=pytest.mark.slow), "spans"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Texts between blank lines, with a sentence on each line; and tokenizers for streams."""
    directory, rng = tmp_path_factory.mktemp("texts"), random.Random(0)

    def document():
        return "\n".join(" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) for _ in range(rng.randint(1, 7)))

    for split, number in (("train", 40), ("validation", 6), ("test", 7)):
        (directory / f"{split}.txt").write_text("\n\n".join(document() for _ in range(number)))
    for family, model in (("decoder", "bpe"), ("encoder", "wordpiece")):
        (directory / family).mkdir()
        tokenizer = train_tokenizer((directory / "train.txt").read_text().split("\n"), model, 300, family)
        save_tokenizers(directory / family, tokenizer, None)
    return directory


def command_line(files, output_dir, task_class, **options):
    """The command line of a run; an option that is None is left out."""
    preset = "tiny-decoder" if task_class is CausalLMTask else "tiny-encoder"
    named = {f"{split}_file": files / f"{split}.txt" for split in ("train", "validation", "test")}
    named |= {"documents": "blank_lines", "output_dir": output_dir, "preset": preset, **OPTIONS, **options}
    given = {name: value for name, value in named.items() if value is not None and value is not False}
    return [word for n, v in given.items() for word in ([f"--{n}"] if v is True else [f"--{n}", str(v)])]


def training(files, output_dir, task_class, **options):
    AcceleratorState._reset_state(True)
    args = command_line(files, output_dir, task_class, **options)
    arguments, loop_arguments, config_fields = parse_options(task_class, None, args)
    return Training(task_class(arguments, config_fields), loop_arguments)


def streamed(files, task_class):
    """The options of a stream: the tokenizer is given."""
    named = files / ("decoder" if task_class is CausalLMTask else "encoder")
    return {"streaming": True, "tokenizer": named, "vocab_size": None}


# ---- scores and predictions


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_agrees_with_the_losses_of_an_evaluation(files, tmp_path, kind):
    """The scores of documents are added up from single ones, those of an evaluation from (packed) batches."""
    task_class, options = TASKS[kind]
    if kind == "packed":  # a row takes all documents, so none is cut in another place than it is by itself
        options = {"block_size": 400, "max_position_embeddings": 400, "max_tokens": 400}
    run = training(files, tmp_path / "run", task_class, **options, max_steps=2)
    run.run()
    scores = run.test()
    losses = run.loop.evaluation.losses(run.batches("test", shuffle=False))
    for name in losses.keys() - {"perplexity"}:
        assert scores[name] == pytest.approx(losses[name], rel=1e-5), name
    assert scores["perplexity"] == pytest.approx(losses["perplexity"], rel=1e-4)
    assert json.loads((tmp_path / "run/test_metrics.json").read_text()) == scores

    lines = (tmp_path / "run/test_predictions.jsonl").read_text().splitlines()
    predictions = [json.loads(line) for line in lines]
    tokens = sum(prediction["tokens"] for prediction in predictions)
    of_tokens = sum(prediction["loss"] * prediction["tokens"] for prediction in predictions) / tokens
    assert math.exp(of_tokens) == pytest.approx(scores["perplexity"])
    if kind != "pairs":
        assert len(predictions) == 7
    if task_class is CausalLMTask:
        texts = run.task.data["test"]["text"][:]
        encoded = run.task.tokenizer(texts, add_special_tokens=False)["input_ids"]
        assert [prediction["tokens"] for prediction in predictions] == [len(ids) + 1 for ids in encoded]
        size = sum(len(text.encode()) for text in texts)
        assert scores["bits_per_byte"] == pytest.approx(of_tokens * tokens / size / math.log(2))
        assert scores["word_perplexity"] > scores["perplexity"] > scores["byte_perplexity"]


@pytest.mark.slow
def test_the_loss_of_a_document_is_that_of_the_model(files, tmp_path):
    run = training(files, tmp_path / "run", CausalLMTask, block_size=64)
    run.run()
    run.test()
    model, tokenizer = (kind.from_pretrained(tmp_path / "run") for kind in (AutoModelForCausalLM, AutoTokenizer))
    lines = (tmp_path / "run/test_predictions.jsonl").read_text().splitlines()
    checked = 0
    for text, line in zip(run.task.data["test"]["text"], lines, strict=True):
        ids = torch.tensor([[2, *tokenizer(text, add_special_tokens=False)["input_ids"], 3]])
        if ids.shape[1] <= 64:
            with torch.no_grad():
                loss = model(input_ids=ids, labels=ids).loss.item()
            assert json.loads(line)["loss"] == pytest.approx(loss, rel=1e-5)
            checked += 1
    assert checked > 2


@pytest.mark.slow
def test_the_directory_works_in_pipelines(files, tmp_path):
    train(CausalLMTask, None, command_line(files, tmp_path / "gpt", CausalLMTask, test_file=None))
    [output] = pipeline("text-generation", model=str(tmp_path / "gpt"))("the old", max_new_tokens=4)
    assert output["generated_text"].startswith("the old")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "gpt")  # a prompt begins as the documents did
    assert tokenizer("the old").input_ids == [
        tokenizer.bos_token_id,
        *tokenizer("the old", add_special_tokens=False).input_ids,
    ]
    AcceleratorState._reset_state(True)
    train(MaskedLMTask, None, command_line(files, tmp_path / "bert", MaskedLMTask, test_file=None))
    outputs = pipeline("fill-mask", model=str(tmp_path / "bert"))("the old [MASK] saw", top_k=3)
    assert len(outputs) == 3
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "bert")).__name__ == "TriptychEncoderForMaskedLM"


# ---- exactness


def gradients(run, divisions):
    """The loss and the gradients of the first update, divided as several processes would divide it."""
    model, task = run.task.model.train(), run.task
    pieces = []
    for division in divisions:
        run.train_batches.division = division
        run.train_batches.set_epoch(3)
        pieces += next(iter(run.train_batches.updates()))
    model.zero_grad()
    items = total_items(task, model, pieces, run.accelerator)
    loss = sum(task.loss(model, piece, items) for piece in pieces)
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_does_not_depend_on_how_an_update_is_cut(files, tmp_path, kind):
    task_class, options = TASKS[kind]
    run = training(files, tmp_path / "run", task_class, **options, dropout=0.0, attention_dropout=0.0)
    whole, expected = gradients(run, [Division()])
    many = [Division(rank, 3, 5) for rank in range(3)]  # more pieces than rows: some are empty
    for divisions in ([Division(accumulation_steps=3)], [Division(0, 2), Division(1, 2)], many):
        loss, found = gradients(run, divisions)
        torch.testing.assert_close(loss, whole, rtol=1e-6, atol=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "is_stream"),
    [
        ("packed", True),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("packed", False), ("pairs", False), ("spans", True))
        ),
    ],
)
def test_a_killed_run_that_is_resumed_equals_an_unbroken_one(files, tmp_path, kind, is_stream, monkeypatch):
    """It is killed in its second epoch, between two checkpoints."""
    task_class, options = TASKS[kind]
    options = options | {"save_steps": 4, "max_steps": 9, "logging_steps": 50, "dropout": 0.1, "test_file": None}
    options |= {"max_tokens": 600, "evaluation_steps": 9} | (streamed(files, task_class) if is_stream else {})
    unbroken = training(files, tmp_path / "unbroken", task_class, **options)
    unbroken.run()
    assert unbroken.loop.state.epoch >= 1
    killed = training(files, tmp_path / "killed", task_class, **options)
    loss = killed.task.loss

    def loss_until_the_kill(model, piece, items):
        if model.training and killed.loop.state.step == 7:
            raise InterruptedError("the process ends here")
        return loss(model, piece, items)

    monkeypatch.setattr(killed.task, "loss", loss_until_the_kill)
    with pytest.raises(InterruptedError):
        killed.run()
    training(files, tmp_path / "killed", task_class, **options, resume=True).run()
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "killed")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["packed", "pairs", "stream"])
def test_two_processes_have_the_losses_of_one(files, tmp_path, kind):
    """With an epsilon that is large for the gradients, Adam does not make large steps of their rounding errors."""
    task_class, options = TASKS["packed" if kind == "stream" else kind]
    options = options | (streamed(files, task_class) if kind == "stream" else {})
    options |= {"dropout": 0.0, "attention_dropout": 0.0, "adam_epsilon": 1e-2, "block_size": 32}
    training(files, tmp_path / "one", task_class, **options).run()
    name = "pretrain_causal_lm.py" if task_class is CausalLMTask else "pretrain_masked_lm.py"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    script = [*launcher, "--main_process_port", "0", str(Path(__file__).parents[2] / "scripts" / name)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    line = [*script, *command_line(files, tmp_path / "two", task_class, **options)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "2 × cpu" in done.stdout + done.stderr
    one, two = (
        [json.loads(line) for line in (tmp_path / of / "metrics.jsonl").read_text().splitlines()]
        for of in ("one", "two")
    )
    for first, second in zip(one, two, strict=True):
        for metric in first.keys() & {"loss", *(name for name in first if name.startswith("validation"))}:
            assert second[metric] == pytest.approx(first[metric], rel=1e-6, abs=1e-6), metric
    weights = [load_file(tmp_path / of / "model.safetensors") for of in ("one", "two")]
    for parameter, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][parameter], tensor, rtol=1e-5, atol=1e-6)
    assert len((tmp_path / "two/test_predictions.jsonl").read_text().splitlines()) > 5


def test_a_run_is_resumed_only_as_it_was(files, tmp_path):
    options = streamed(files, CausalLMTask) | {"max_steps": 1, "test_file": None, "validation_file": None}
    training(files, tmp_path / "run", CausalLMTask, **options).run()
    changes = {"one_document_per_row": True, "shuffle_buffer": 3, "block_size": 12, "empty": "drop"}
    with pytest.raises(ValueError, match="was") as refused:
        training(files, tmp_path / "run", CausalLMTask, **(options | changes), resume=True).run()
    for name in ("data.one_document_per_row", "data.shuffle_buffer", "data.block_size", "data.reading"):
        assert f"{name} was " in str(refused.value)


# ---- streams


@pytest.mark.parametrize("kind", STREAMS)
def test_a_stream_has_the_rows_of_the_files(files, tmp_path, kind):
    """In the order of the files, a stream has the rows of the data set; shuffled, those of all documents."""
    task_class, options = TASKS[kind]
    options = options | streamed(files, task_class)
    run = training(files, tmp_path / "run", task_class, **options, shuffle_buffer=1)
    assert "a stream to train, 6 validation, 7 test documents" in "\n".join(run.summary())
    read = training(files, tmp_path / "read", task_class, **(options | {"streaming": False}))
    assert list(run.task.rows("train")) == list(read.task.rows("train"))

    shuffled = training(files, tmp_path / "shuffled", task_class, **options).train_batches
    seen = []
    for epoch in (0, 1):
        shuffled.set_epoch(epoch)
        rows = [row for batch in shuffled.global_batches() for row in batch]
        seen.append([token for row in sorted(rows, key=str) for token in row["input_ids"]])
    if kind != "packed":
        assert sorted(seen[0]) == sorted(seen[1])


def test_a_stream_of_a_directory(files, tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        texts = (files / f"{split}.txt").read_text().split("\n\n")
        lines = [json.dumps({"content": text}) for text in texts]
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    options = {f"{split}_file": None for split in ("train", "validation", "test")} | streamed(files, CausalLMTask)
    options |= {"dataset_name": tmp_path / "data", "text_column": "content", "documents": None}
    run = training(files, tmp_path / "run", CausalLMTask, **options)
    run.run()
    assert run.test().keys() == set(CausalLMTask.scores)
    assert run.identity()["data.stream"] == [["train.jsonl", (tmp_path / "data/train.jsonl").stat().st_size]]


@pytest.fixture
def described(files, tmp_path):
    """A directory that `datasets` reads itself, because its README.md says which of its files are what."""
    texts = (files / "train.txt").read_text().split("\n\n")
    for part in range(3):
        Dataset.from_dict({"text": texts[part::3]}).to_parquet(tmp_path / "data" / f"part-{part}.parquet")
    (tmp_path / "data" / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: part-*.parquet\n---\n"
    )
    given = {f"{split}_file": None for split in ("train", "validation", "test")} | streamed(files, CausalLMTask)
    return given | {"dataset_name": tmp_path / "data", "documents": None}


def test_a_stream_of_datasets_is_shuffled_anew_in_each_epoch(files, tmp_path, described):
    def updates(epoch, **options):
        batches = training(files, tmp_path / "run", CausalLMTask, **described, **options).train_batches
        batches.set_epoch(epoch)
        return [piece["input_ids"].tolist() for [piece] in batches.updates()]

    first = updates(0, shuffle_buffer=8)
    assert first == updates(0, shuffle_buffer=8)
    for others in (updates(1, shuffle_buffer=8), updates(0, shuffle_buffer=8, seed=5), updates(0, shuffle_buffer=1)):
        assert others != first
    assert first == updates(0, shuffle_buffer=8, dataloader_workers=2)


@pytest.mark.slow
def test_a_stream_of_datasets_is_resumed_with_another_number_of_workers(files, tmp_path, described):
    options = described | {"save_steps": 3, "max_steps": 9, "dropout": 0.1, "shuffle_buffer": 8, "max_tokens": 600}
    training(files, tmp_path / "unbroken", CausalLMTask, **options).run()
    stopped = training(files, tmp_path / "stopped", CausalLMTask, **options, dataloader_workers=2)
    signal_at(stopped.loop, 4, signal.SIGTERM)
    with pytest.raises(Interrupted):
        stopped.run()
    training(files, tmp_path / "stopped", CausalLMTask, **options, dataloader_workers=1, resume=True).run()
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("unbroken", "stopped")]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


# ---- tokenizers without padding, and refusals


def test_a_tokenizer_without_padding_token(files, tmp_path):
    """As GPT-2's: one token begins and ends a text, and fills rows up; what is filled up is not seen and not asked."""
    tokenizer = AutoTokenizer.from_pretrained(files / "decoder")
    tokenizer.pad_token = tokenizer.unk_token = None
    tokenizer.bos_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    options = {"tokenizer": tmp_path / "tokenizer", "vocab_size": None, "one_document_per_row": True}
    run = training(files, tmp_path / "run", CausalLMTask, **options)
    assert run.task.config.pad_token_id == run.task.config.eos_token_id == 3
    rows = run.task.rows("train")
    assert rows[0]["input_ids"][0] == 3
    counted = sum(
        run.task.count_items(run.task.model, piece)["num_items_in_batch"] for [piece] in run.train_batches.updates()
    )
    texts = run.task.data["train"]["text"][:]
    assert counted == sum(len(ids) + 1 for ids in tokenizer(texts)["input_ids"])
    run.run()
    assert AutoTokenizer.from_pretrained(tmp_path / "run").pad_token is None


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("packed", {"streaming": True}, "--streaming reads .* name one with --tokenizer"),
        ("packed", {"block_size": 65}, "block_size=65: the model takes at most 64 tokens"),
        ("packed", {"block_size": 1}, "block_size=1 must be at least 2"),
        ("packed", {"shuffle_buffer": 0}, "shuffle_buffer=0 must be at least 1"),
        ("tokens", {"mlm_probability": 1.5}, r"mlm_probability=1.5 must be in \(0, 1\]"),
        (
            "pairs",
            {"streaming": True, "tokenizer": "encoder", "vocab_size": None},
            "--next_sentence takes sentences from any",
        ),
        (
            "packed",
            {"streaming": True, "tokenizer": "decoder", "vocab_size": None, "max_steps": None},
            "are a stream.*: give max_steps or",
        ),
        ("pairs", {"documents": None}, "train data: next_sentence needs .*--documents blank_lines"),
        ("pairs", {"packed": True}, "--next_sentence and --packed are two ways to make rows"),
    ],
)
def test_what_is_refused(files, tmp_path, kind, options, message, monkeypatch):
    task_class, given = TASKS[kind]
    monkeypatch.chdir(files)
    with pytest.raises(ValueError, match=message):
        training(files, tmp_path / "run", task_class, **(given | options))
    assert not (tmp_path / "run").exists()


def test_blank_documents_are_left_out_and_told(files, tmp_path):
    (tmp_path / "train.txt").write_text("the old cat\n\n   \na dog\n")
    options = {"train_file": tmp_path / "train.txt", "documents": None, "tokenizer": files / "decoder"}
    run = training(files, tmp_path / "run", CausalLMTask, **options, vocab_size=None)
    assert run.task.data["train"]["text"][:] == ["the old cat", "a dog"]
    assert "train: blank documents left out: 2 of 4" in "\n".join(run.summary())
    (tmp_path / "train.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="train data: there is no text; all documents are blank"):
        training(files, tmp_path / "other", CausalLMTask, **options, vocab_size=None)
    for split in ("train", "test"):  # a stream is refused at once, too
        given = options | streamed(files, CausalLMTask) | {"train_file": files / "train.txt"}
        given |= {f"{split}_file": tmp_path / "train.txt"}
        with pytest.raises(ValueError, match=f"{tmp_path}/train.txt: there is no text; all documents are blank"):
            training(files, tmp_path / "other", CausalLMTask, **given)


def test_packed_rows_of_a_masked_model(files, tmp_path):
    """An update of N rows of length L has N * L tokens; each document is scored by itself."""
    options = {"packed": True, "block_size": 24, "max_tokens": 4 * 24, "max_steps": 2}
    run = training(files, tmp_path / "run", MaskedLMTask, **options)
    shapes = [tuple(pieces[0]["input_ids"].shape) for pieces in run.train_batches]
    assert shapes.count((4, 24)) >= len(shapes) - 1
    run.run()
    assert run.test().keys() == set(MaskedLMTask.scores)
    assert len((tmp_path / "run/test_predictions.jsonl").read_text().splitlines()) == 7
    streams = training(files, tmp_path / "stream", MaskedLMTask, **options, **streamed(files, MaskedLMTask))
    assert {len(row["input_ids"]) for row in list(streams.task.rows("train"))[:-1]} == {24}

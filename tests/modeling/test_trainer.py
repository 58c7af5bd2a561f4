"""One batch = gradient accumulation = data parallel for every head, under transformers' Trainer and under our loop.

Every update has 16 ragged rows. Trainer counts `labels` alone, so for spans it takes every piece for as heavy as any
other; here the pieces have equally many answers. Under our loop they have not.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F
from transformers import DataCollatorForSeq2Seq

import trainer_run as run
from tiny import number_tokenizer

SPAN = [head for head in run.HEADS if "QuestionAnswering" in head]
TRANSLATION = "TriptychForConditionalGeneration"
LANGUAGE = [head for head in run.HEADS if "LM" in head or "PreTraining" in head or "Conditional" in head]
CONFIG = {"config": {"label_smoothing": 0.2}}
# The smoothing of the arguments must take the place of the configuration's, not be added to it.
ARGUMENTS = {"config": {"label_smoothing": 0.5}, "label_smoothing_factor": 0.2}
SETTINGS = {"plain": {"config": {"label_smoothing": 0.0}}, "config": CONFIG, "arguments": ARGUMENTS}
CASES = [(head, "plain") for head in run.HEADS]
CASES += [(head, "config") for head in LANGUAGE]
CASES += [(head, "arguments") for head in run.HEADS if head not in SPAN and "PreTraining" not in head]


def expected_loss(model, batch, epsilon):
    """The loss of all rows by torch's own formula."""
    head = type(model).__name__
    answers = {name: value for name, value in batch.items() if "label" in name or "positions" in name}
    with torch.no_grad():
        output = model(**{name: value for name, value in batch.items() if name not in answers})
    if head in SPAN:  # among the tokens that are not padding
        padding = torch.log(batch["attention_mask"])
        start = F.cross_entropy(output.start_logits + padding, answers["start_positions"])
        return ((start + F.cross_entropy(output.end_logits + padding, answers["end_positions"])) / 2).item()
    labels = answers["labels"]
    if "PreTraining" in head:
        words = F.cross_entropy(output.prediction_logits.transpose(1, 2), labels, label_smoothing=epsilon)
        sentences = F.cross_entropy(output.seq_relationship_logits, batch["next_sentence_label"], reduction="none")
        number = (labels != -100).sum(-1)  # Trainer knows of no other number than that of tokens
        return (words + (sentences * number).sum() / number.sum()).item()
    logits = output.logits
    if "ForCausalLM" in head:
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits = logits.flatten(0, -2)
    return F.cross_entropy(logits, labels.flatten(), label_smoothing=epsilon).item()


def after(model, moves):
    """The model after training."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter += moves[name]
    return model


def assert_same_training(answer, expected, assert_close_trees):
    """Logs, evaluation, and what became of the weights."""
    for name in ("loss", "grad_norm", "eval_loss"):
        assert answer[name] == pytest.approx(expected[name], rel=1e-4), name
    assert_close_trees(answer["moves"], expected["moves"], rtol=1e-3)


@pytest.mark.parametrize(
    ("head", "smoothing"),
    [pytest.param(*case, marks=[] if case[1] == "plain" else [pytest.mark.slow]) for case in CASES],
)
def test_16_rows_equal_8_pieces_of_2(head, smoothing, assert_close_trees):
    settings, epsilon = SETTINGS[smoothing], 0.0 if smoothing == "plain" else 0.2
    whole = run.train(head, **settings)
    model = run.make_model(head, **settings["config"]).eval()
    batch = run.whole_batch(head, model)
    assert whole["loss"][0] == pytest.approx(expected_loss(model, batch, epsilon), rel=1e-5)
    assert whole["loss"][0] > whole["loss"][1] > whole["loss"][2]
    trained = after(model, whole["moves"])
    epsilon = epsilon if smoothing == "arguments" else 0.0  # the configuration smooths in training only
    assert whole["eval_loss"] == pytest.approx(expected_loss(trained, batch, epsilon), rel=1e-5)
    pieces = run.train(head, **settings, per_device_train_batch_size=2, gradient_accumulation_steps=8)
    assert_same_training(pieces, whole, assert_close_trees)


def answer(directory, jobs):
    """Starts two processes, which leave the answer to each job in a file of its name."""
    files = [directory / f"{name}.json" for name in jobs]
    for file, job in zip(files, jobs.values(), strict=True):
        file.write_text(json.dumps(job))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, run.__file__, *files],
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"},
    )
    assert done.returncode == 0, done.stderr[-5000:]


def answer_by_trainer(directory):
    """Two processes that accumulate two batches of 4 rows each, for all cases."""
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 8}
    common = {"by": "trainer", "ddp_backend": "gloo", **cut}
    answer(directory, {"-".join(case): {"head": case[0], **common, **SETTINGS[case[1]]} for case in CASES})


def answer_by_loop(directory):
    """Two processes that accumulate four pieces of 2 rows each, for all heads."""
    common = {"by": "loop", "pieces": 4}
    answer(directory, {head: {"head": head, "output_dir": str(directory / head), **common} for head in run.HEADS})


@pytest.fixture(scope="module")
def trainer_in_two_processes(once):
    directory = once("trainer-in-two-processes", answer_by_trainer)
    return {case: torch.load(directory / f"{'-'.join(case)}.answer") for case in CASES}


@pytest.fixture(scope="module")
def loop_in_two_processes(once):
    directory = once("loop-in-two-processes", answer_by_loop)
    return {head: torch.load(directory / f"{head}.answer") for head in run.HEADS}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_16_rows_equal_2_processes_with_2_pieces_of_4(case, trainer_in_two_processes, assert_close_trees):
    head, smoothing = case
    whole = run.train(head, **SETTINGS[smoothing])
    assert trainer_in_two_processes[case]["processes"] == 2
    assert_same_training(trainer_in_two_processes[case], whole, assert_close_trees)


@pytest.mark.slow
@pytest.mark.parametrize("head", run.HEADS)
def test_the_loop_has_the_same_gradients_however_an_update_is_cut(
    head, loop_in_two_processes, tmp_path, assert_close_trees
):
    """16 rows at once, 8 pieces of 2, and two processes with 4 pieces of 2."""
    whole = run.train_by_loop(head, pieces=1, output_dir=str(tmp_path / "whole"))
    pieces = run.train_by_loop(head, pieces=8, output_dir=str(tmp_path / "pieces"))
    shared = loop_in_two_processes[head]
    assert (whole["processes"], pieces["processes"], shared["processes"]) == (1, 1, 2)
    for cut in (pieces, shared):
        assert_close_trees(cut["gradients"], whole["gradients"], rtol=1e-4)


@pytest.mark.parametrize("smoothing", ["config", "arguments"])
def test_predicting_with_generate(smoothing):
    """Seq2SeqTrainer: the tokens are those of `generate`, the loss is that of the labels."""
    settings = dict(SETTINGS[smoothing])
    model = run.make_model(TRANSLATION, **settings.pop("config")).eval()
    trainer = run.make_trainer(model, predict_with_generate=True, generation_max_length=12, **settings)
    found = trainer.predict(trainer.eval_dataset)
    batch = run.whole_batch(TRANSLATION, model)
    expected = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_length=12)
    tokens = torch.as_tensor(found.predictions)
    assert torch.equal(tokens[:, : expected.shape[1]], expected)
    assert (tokens[:, expected.shape[1] :] == 0).all()
    epsilon = 0.2 if smoothing == "arguments" else 0.0  # the configuration smooths in training only
    assert found.metrics["test_loss"] == pytest.approx(expected_loss(model, batch, epsilon), rel=1e-5)


@pytest.mark.parametrize("head", [TRANSLATION, "TriptychEncoderForMaskedLM", "TriptychDecoderForCausalLM"])
def test_checkpointing_changes_nothing(head, assert_close_trees):
    settings = {"config": {"dropout": 0.1, "attention_dropout": 0.1}}
    expected = run.train(head, **settings)
    for use_reentrant in (True, False):
        options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": use_reentrant}}
        assert_same_training(run.train(head, **settings, **options), expected, assert_close_trees)


def test_smoothing_by_the_arguments_needs_a_collator_that_shifts():
    """Trainer keeps the labels from the model, which then has nothing to decode from, and says so."""
    trainer = run.make_trainer(
        run.make_model(TRANSLATION), DataCollatorForSeq2Seq(number_tokenizer()), label_smoothing_factor=0.1
    )
    with pytest.raises(ValueError, match="needs decoder_input_ids"):
        trainer.train()


def test_smoothing_by_the_arguments_would_lose_the_loss_over_sentences():
    trainer = run.make_trainer(run.make_model("TriptychEncoderForPreTraining"), label_smoothing_factor=0.1)
    with pytest.raises(KeyError, match="set label_smoothing in the model's config instead of label_smoothing_factor"):
        trainer.train()

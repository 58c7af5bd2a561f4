"""What an update and an evaluation compute: the same, however an update is cut."""

import math
import sys

import pytest
import torch
from safetensors.torch import load_file

TWO_PROCESSES = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def first_gradients(tiny_run, directory, **options):
    loop = tiny_run.loop(directory, max_steps=1, **options)
    tiny_run.module.save_first_gradients(loop, str(directory) + ".gradients")
    result = loop.run()
    return load_file(str(directory) + ".gradients"), tiny_run.metrics(directory)[1], result.metrics["validation_loss"]


@pytest.mark.parametrize(("rows", "pieces"), [(16, 8), (3, 8)])
def test_accumulation_changes_nothing(tiny_run, tmp_path, rows, pieces):
    whole, loss, validation = first_gradients(tiny_run, tmp_path / "whole", rows=rows)
    cut, cut_loss, cut_validation = first_gradients(
        tiny_run, tmp_path / "cut", rows=rows, gradient_accumulation_steps=pieces
    )
    assert cut_loss == pytest.approx(loss, rel=1e-6)
    assert cut_validation == pytest.approx(validation, rel=1e-6)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-5, atol=1e-7)
        assert gradient.abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "pieces"), [(16, 1), (3, 2)])
def test_two_processes_change_nothing(tiny_run, tmp_path, rows, pieces):
    whole, loss, validation = first_gradients(tiny_run, tmp_path / "whole", rows=rows)
    options = {"max_steps": 1, "rows": rows, "gradient_accumulation_steps": pieces}
    done = tiny_run.program(tmp_path / "two", *TWO_PROCESSES, gradients=tmp_path / "gradients", **options)
    assert done.returncode == 0, done.stderr
    assert tiny_run.metrics(tmp_path / "two")[1] == pytest.approx(loss, rel=1e-6)
    assert tiny_run.metrics(tmp_path / "two", "validation_loss")[1] == pytest.approx(validation, rel=1e-6)
    for process in (0, 1):
        shared = load_file(tmp_path / f"gradients-{process}")
        for name, gradient in whole.items():
            torch.testing.assert_close(shared[name], gradient, rtol=1e-5, atol=1e-7)


def sequences(labels):
    """A mask of the rows with labels, shape (rows,)."""
    return (labels != -100).any(dim=1)


def count_tokens_and_sequences(model, piece):
    labels = piece["labels"]
    return {"num_items_in_batch": (labels != -100).sum(), "num_sequences": sequences(labels).sum()}


def loss_of_tokens_and_sequences(model, piece, items):
    """A mean over tokens, and a mean over sequences: the first logits should be small."""
    outputs = model(**piece, num_items_in_batch=items["num_items_in_batch"])
    sizes = outputs.logits[:, 0].square().mean(dim=-1)
    return outputs.loss + (sizes * sequences(piece["labels"])).sum() / items["num_sequences"]


@pytest.mark.parametrize(("rows", "pieces"), [(16, 8), (3, 8)])
def test_a_loss_with_two_counts_does_not_depend_on_the_cut(tiny_run, tmp_path, rows, pieces):
    changes = {"count_items": count_tokens_and_sequences, "loss": loss_of_tokens_and_sequences}
    changes["validation_losses"] = lambda *args: {"loss": loss_of_tokens_and_sequences(*args)}
    options = {"rows": rows, "extras": changes}
    whole, loss, validation = first_gradients(tiny_run, tmp_path / "whole", **options)
    cut, cut_loss, cut_validation = first_gradients(
        tiny_run, tmp_path / "cut", gradient_accumulation_steps=pieces, **options
    )
    assert cut_loss == pytest.approx(loss, rel=1e-6)
    assert cut_validation == pytest.approx(validation, rel=1e-6)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-5, atol=1e-7)


def test_evaluation_does_not_change_the_training(tiny_run, tmp_path):
    def draw(model, accelerator):
        return {"noise": float(torch.rand(()))}

    tiny_run.loop(
        tmp_path / "often", dropout=0.3, evaluation_steps=1, extras={"evaluate": draw, "metrics": ["noise"]}
    ).run()
    tiny_run.loop(tmp_path / "seldom", dropout=0.3, evaluation_steps=100).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "often"), tiny_run.weights(tmp_path / "seldom"))


def test_the_loss_falls_and_the_minutes_end_it(tiny_run, tmp_path):
    result = tiny_run.loop(tmp_path, max_steps=None, max_minutes=0.05, learning_rate_scale=0.2).run()
    assert result.step > 5
    assert result.minutes >= 0.05
    losses = tiny_run.metrics(tmp_path)
    assert losses[max(losses)] < losses[1]


def test_diverged_training_stops_and_keeps_the_last_checkpoint(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, save_steps=1, logging_steps=1)
    loss = loop.objective.loss
    loop.objective.loss = lambda model, piece, items: (
        loss(model, piece, items) * (math.nan if loop.state.step == 3 else 1)
    )
    with pytest.raises(FloatingPointError, match="nan at update 4"):
        loop.run()
    assert all(tensor.isfinite().all() for tensor in tiny_run.weights(tmp_path).values())
    assert (tmp_path / "checkpoint-3").is_dir()
    assert not (tmp_path / "checkpoint-4").exists()


def test_unknown_best_metric(tiny_run, tmp_path):
    with pytest.raises(
        ValueError, match=r"best_metric='bleu' is not among the metrics of an evaluation: validation_l"
    ):
        tiny_run.loop(tmp_path, best_metric="bleu").run()


def test_empty_training_data(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path)
    loop.train_batches.size = 0
    with pytest.raises(ValueError, match="the training data"):
        loop.run()


def test_bf16_trains(tiny_run, tmp_path):
    result = tiny_run.loop(tmp_path, mixed_precision="bf16").run()
    assert math.isfinite(result.metrics["validation_loss"])
    assert {tensor.dtype for tensor in tiny_run.weights(tmp_path).values()} == {torch.float32}

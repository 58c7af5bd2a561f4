"""What each option of the loop does, by its effect: against a plain loop over torch's parts, and a clock of ours."""

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from triptych import TriptychForConditionalGeneration
from triptych.training import LoopArguments, measurements, progress

UPDATES = 6


def records(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def logged(directory, name="loss"):
    return {line["step"]: line[name] for line in records(directory) if name in line}


def weights(directory):
    return load_file(directory / "model.safetensors")


def close(first, second, rtol=1e-5, atol=1e-7):
    return all(torch.allclose(first[name], second[name], rtol=rtol, atol=atol) for name in second)


def noam(step, width=16, warmup=4):
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


def smoothed_loss(model, piece, epsilon=0.1):
    """Torch's own loss of a piece: the mean over its target tokens."""
    inputs = {name: value for name, value in piece.items() if name != "labels"}
    shifted = model.prepare_decoder_input_ids_from_labels(piece["labels"])
    logits = model(**inputs, decoder_input_ids=shifted).logits
    return F.cross_entropy(logits.flatten(0, 1), piece["labels"].flatten(), label_smoothing=epsilon)


@pytest.fixture
def plain_loop(tiny_run):
    """The same training in the plainest way: weights at the end; the loss and the gradient's norm of each update."""

    def train(
        optimizer="AdamW", betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, clip=math.inf, rate=noam, updates=UPDATES
    ):
        model = tiny_run.module.tiny_model().train()
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        steps = getattr(torch.optim, optimizer)(groups, lr=1.0, betas=betas, eps=eps)
        batches, losses, norms = tiny_run.module.TinyBatches(5), [], []
        for number in range(updates):
            batches.set_epoch(number // 5)
            (piece,) = next(batches.updates(number % 5))
            loss = smoothed_loss(model, piece)
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
            for group in steps.param_groups:
                group["lr"] = rate(number + 1)
            steps.step()
            steps.zero_grad()
            losses.append(loss.item())
        return {name: p.detach() for name, p in model.named_parameters()}, losses, norms

    return train


def ramp(peak, warmup):
    return lambda step: peak * min(step / warmup, 1.0)


CASES = {
    "nothing": ({}, {}),
    "optimizer": ({"optimizer": "adam", "weight_decay": 0.2}, {"optimizer": "Adam", "weight_decay": 0.2}),
    "adam_beta1": ({"adam_beta1": 0.3}, {"betas": (0.3, 0.98)}),
    "adam_beta2": ({"adam_beta2": 0.5}, {"betas": (0.9, 0.5)}),
    "adam_epsilon": ({"adam_epsilon": 0.1}, {"eps": 0.1}),
    "weight_decay": ({"weight_decay": 0.5}, {"weight_decay": 0.5}),
    "max_grad_norm": ({"max_grad_norm": 0.05, "adam_epsilon": 0.01}, {"clip": 0.05, "eps": 0.01}),
    "warmup_steps": ({"warmup_steps": 9}, {"rate": lambda step: noam(step, warmup=9)}),
    "learning_rate_scale": ({"learning_rate_scale": 0.25}, {"rate": lambda step: 0.25 * noam(step)}),
    "lr_scheduler": (
        {"lr_scheduler": "constant", "learning_rate": 0.03, "warmup_steps": 3},
        {"rate": ramp(0.03, 3)},
    ),
    "learning_rate": (
        {"lr_scheduler": "inverse_sqrt", "learning_rate": 0.07, "warmup_steps": 2},
        {"rate": lambda step: 0.07 * min(step / 2, (2 / step) ** 0.5)},
    ),
    "linear": (
        {"lr_scheduler": "linear", "learning_rate": 0.05, "warmup_steps": 2},
        {"rate": lambda step: 0.05 * min(step / 2, (UPDATES + 1 - step) / (UPDATES - 2))},
    ),
    "warmup_ratio": (
        {"lr_scheduler": "linear", "learning_rate": 0.05, "warmup_ratio": 0.5},
        {"rate": lambda step: 0.05 * min((step - 1) / 3, 1 - (step - 4) / 3)},
    ),
    "gradient_accumulation_steps": ({"gradient_accumulation_steps": 4}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loop_does_what_a_plain_loop_does(tiny_run, tmp_path, plain_loop, case):
    options, expected_options = CASES[case]
    expected, losses, norms = plain_loop(**expected_options)
    loop = tiny_run.loop(tmp_path, **options)
    loop.run()
    assert close(dict(loop.bare_model.named_parameters()), expected, rtol=1e-3, atol=2e-5)
    assert list(logged(tmp_path).values()) == pytest.approx(losses, rel=1e-4)
    rate = expected_options.get("rate", noam)
    assert logged(tmp_path, "learning_rate") == pytest.approx({s: rate(s) for s in range(1, UPDATES + 1)})
    if "clip" in expected_options:
        assert list(logged(tmp_path, "gradient_norm").values()) == pytest.approx(norms, rel=1e-3)
        assert min(norms) > expected_options["clip"]
    if expected_options:
        assert not close(plain_loop()[0], expected, rtol=1e-2, atol=1e-4)


class Clock:
    """Stands for the module `time`: an hour that only training makes pass."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def timed_loop(tiny_run, tmp_path, monkeypatch):
    """A run whose updates take so many seconds each, and whose other work takes none."""

    def make(seconds, **options):
        clock = Clock()
        for module in (progress, measurements):
            monkeypatch.setattr(module, "time", clock)
        loop = tiny_run.loop(tmp_path, **options)
        loss = loop.objective.loss

        def timed_loss(model, piece, items):
            clock.now += seconds * model.training
            return loss(model, piece, items)

        loop.objective.loss = timed_loss
        return loop

    return make


def test_minutes_are_minutes(timed_loop, tmp_path):
    options = {"max_steps": None, "max_minutes": 2, "evaluation_minutes": 0.6, "save_minutes": 0.9}
    result = timed_loop(12, **options).run()
    assert result.step == 10  # of 12 seconds
    assert result.minutes == pytest.approx(2)
    assert sorted(logged(tmp_path, "validation_loss")) == [3, 6, 9, 10]
    assert sorted(d.name for d in tmp_path.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-5"]
    assert logged(tmp_path, "minutes")[5] == pytest.approx(1)


def test_the_learning_rate_follows_the_clock(timed_loop, tmp_path):
    schedule = {"lr_scheduler": "linear", "learning_rate": 0.05, "warmup_steps": 0}
    timed_loop(12, max_steps=None, max_minutes=1, **schedule).run()
    assert logged(tmp_path, "learning_rate") == pytest.approx({s: 0.05 * (1 - (s - 1) / 5) for s in range(1, 6)})


def test_speed_padding_memory_and_utilisation(timed_loop, tiny_run, tmp_path, monkeypatch):
    """All of the log, against the formulas of docs/training/running.md for the two layers of the tiny model."""
    monkeypatch.setattr(measurements, "peak_rate", lambda *_: 1e6)
    sides = {"source": "input_ids", "target": "labels"}
    timed_loop(10, max_steps=4, logging_steps=2, extras={"sides": sides}).run()
    batches = tiny_run.module.TinyBatches(5)
    batches.set_epoch(0)
    pieces = [piece for (piece,) in batches.updates()]
    sources = [piece["attention_mask"].sum(dim=1) for piece in pieces]
    targets = [(piece["labels"] != -100).sum(dim=1) for piece in pieces]
    tokens = [int(source.sum() + target.sum()) for source, target in zip(sources, targets, strict=True)]
    places = [piece["input_ids"].numel() + piece["labels"].numel() for piece in pieces]
    speeds = {2: sum(tokens[:2]) / 20, 4: sum(tokens[2:4]) / 20}
    assert logged(tmp_path, "tokens_per_second") == pytest.approx(speeds)
    assert logged(tmp_path, "padding")[2] == pytest.approx(1 - sum(tokens[:2]) / sum(places[:2]))
    assert 0.05 < logged(tmp_path, "memory_gb")[2] < 100

    width, inner, vocabulary = 16, 32, 20
    encoder = 4 * width**2 + 2 * width * inner  # q, k, v and o; two maps of the feed-forward
    decoder = 8 * width**2 + 2 * width * inner
    operations = sum(
        6 * (encoder * s.sum() + (decoder + vocabulary * width) * t.sum()) + 12 * width * (s * s + t * t + s * t).sum()
        for s, t in zip(sources[:2], targets[:2], strict=True)
    )
    assert logged(tmp_path, "mfu")[2] == pytest.approx(float(operations) / 20 / 1e6, rel=1e-6)


@pytest.mark.parametrize(("epochs", "updates"), [(1, 5), (2.4, 12)])
def test_epochs(tiny_run, tmp_path, epochs, updates):
    result = tiny_run.loop(tmp_path, max_steps=None, num_train_epochs=epochs).run()
    assert result.step == updates
    assert logged(tmp_path, "epoch")[updates] == pytest.approx(epochs)
    assert sorted(logged(tmp_path, "validation_loss")) == sorted({*range(5, updates + 1, 5), updates})


def test_steps_between_logs_evaluations_and_checkpoints(tiny_run, tmp_path):
    steps = {"logging_steps": 2, "evaluation_steps": 3, "save_steps": 4, "keep_checkpoints": 2}
    tiny_run.loop(tmp_path, max_steps=13, **steps).run()
    assert sorted(logged(tmp_path)) == [2, 4, 6, 8, 10, 12, 13]
    assert sorted(logged(tmp_path, "validation_loss")) == [3, 6, 9, 12, 13]
    assert sorted(d.name for d in tmp_path.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-13"]


def test_a_log_line_is_the_mean_over_all_tokens_since_the_last(tiny_run, tmp_path, plain_loop):
    tiny_run.loop(tmp_path, max_steps=3, logging_steps=3).run()
    _, losses, _ = plain_loop(updates=3)
    batches = tiny_run.module.TinyBatches(5)
    batches.set_epoch(0)
    tokens = [int((piece["labels"] != -100).sum()) for (piece,) in batches.updates()][:3]
    mean = sum(loss * number for loss, number in zip(losses, tokens, strict=True)) / sum(tokens)
    assert logged(tmp_path) == pytest.approx({3: mean}, rel=1e-5)


def test_the_seed_decides_dropout(tiny_run, tmp_path):
    found = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        tiny_run.loop(tmp_path / name, dropout=0.3, max_steps=2, seed=seed).run()
        found[name] = weights(tmp_path / name)
    assert close(found["first"], found["again"], rtol=0, atol=0)
    assert not close(found["first"], found["other"])


def validation(model, tiny_run):
    """Mean negative log-likelihood and smoothed loss of the validation pairs, by torch's own formula, all at once."""
    batches = tiny_run.module.TinyBatches(2)
    batches.set_epoch(0)
    sums, tokens = torch.zeros(2, dtype=torch.float64), 0
    with torch.no_grad():
        for (piece,) in batches.updates():
            count = int((piece["labels"] != -100).sum())
            sums += count * torch.tensor([smoothed_loss(model, piece, epsilon).item() for epsilon in (0.0, 0.1)])
            tokens += count
    return (sums / tokens).tolist()


@pytest.mark.parametrize("final_weights", ["last", "best", "average"])
def test_the_metrics_are_those_of_the_published_weights(tiny_run, tmp_path, final_weights):
    """Also: an evaluation drops nothing out, smooths no label, and its perplexity is that of the true loss."""
    options = {"learning_rate_scale": 3.0, "evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 4}
    run = tiny_run.loop(tmp_path, dropout=0.4, max_steps=9, final_weights=final_weights, **options)
    result = run.run()
    seen = logged(tmp_path, "validation_loss")
    published = TriptychForConditionalGeneration.from_pretrained(tmp_path).eval()
    likelihood, _ = validation(published, tiny_run)
    for metrics in (result.metrics, records(tmp_path)[-1]):
        assert metrics["validation_loss"] == pytest.approx(likelihood, rel=1e-5)
        assert metrics["validation_perplexity"] == pytest.approx(math.exp(likelihood), rel=1e-5)
    assert validation(run.bare_model, tiny_run)[0] == pytest.approx(likelihood, rel=1e-6)  # not in training mode
    by_step = [record for record in records(tmp_path) if "validation_loss" in record and "weights" not in record]
    best = min(by_step, key=lambda record: record["validation_loss"])
    assert best["step"] < 9  # else this tells nothing
    assert (result.best["step"], result.best["value"]) == (best["step"], best["validation_loss"])
    assert max(seen.values()) > min(seen.values()) + 0.01


@pytest.mark.parametrize(
    ("metric", "greater", "kept"),
    [
        ("a_loss", None, 3),
        ("perplexity", None, 3),
        ("score", None, 2),
        ("score", False, 3),
        ("a_loss", True, 2),
    ],
)
def test_the_best_is_the_best(tiny_run, tmp_path, metric, greater, kept):
    values = iter([2.0, 4.0, 1.0, 3.0, 2.0, 4.0, 1.0])
    evaluate = {"evaluate": lambda model, accelerator: {metric: next(values)}, "metrics": [metric]}
    options = {"evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 9, "final_weights": "best"}
    result = tiny_run.loop(tmp_path, best_metric=metric, greater_is_better=greater, extras=evaluate, **options).run()
    assert result.best["step"] == kept
    assert close(weights(tmp_path), weights(tmp_path / f"checkpoint-{kept}"), rtol=0, atol=0)


def test_a_number_is_better_than_none(tiny_run, tmp_path):
    values = iter([math.nan, 2.0, math.nan, 1.0, 3.0, math.nan, 2.0])
    evaluate = {"evaluate": lambda model, accelerator: {"score": next(values)}, "metrics": ["score"]}
    options = {"evaluation_steps": 1, "save_steps": 1, "keep_checkpoints": 9, "final_weights": "best"}
    result = tiny_run.loop(tmp_path, best_metric="score", extras=evaluate, **options).run()
    assert (result.best["step"], result.best["value"]) == (5, 3.0)


def test_an_evaluation_may_report_several_losses(tiny_run, tmp_path):
    def losses(model, piece, items):
        loss = model(**piece, **items).loss
        return {"loss": loss, "twice": 2 * loss}

    metrics = tiny_run.loop(tmp_path, extras={"validation_losses": losses}).run().metrics
    assert metrics["validation_twice"] == pytest.approx(2 * metrics["validation_loss"])
    assert list(metrics) == ["validation_loss", "validation_twice", "validation_perplexity"]


class Killed(Exception):
    """The process ends here."""


def die_at(run, step):
    """Lets a run end in the middle of the update after `step`."""
    loss = run.objective.loss

    def mortal_loss(model, piece, items):
        if run.state.step == step:
            raise Killed
        return loss(model, piece, items)

    run.objective.loss = mortal_loss
    with pytest.raises(Killed):
        run.run()


def test_a_log_line_survives_a_kill(tiny_run, tmp_path):
    """The line of update 3 counts updates 1 and 2, too, which an earlier process made."""
    options = {"logging_steps": 3, "save_steps": 2}
    tiny_run.loop(tmp_path / "unbroken", **options).run()
    die_at(tiny_run.loop(tmp_path / "killed", **options), 2)
    tiny_run.loop(tmp_path / "killed", resume=True, **options).run()
    assert logged(tmp_path / "killed") == logged(tmp_path / "unbroken")
    assert sorted(logged(tmp_path / "killed")) == [3, 6]


def gradients_given_to_the_optimizer(tiny_run, directory, **options):
    run = tiny_run.loop(directory, max_steps=1, **options)
    found = {}
    run.optimizer.optimizer.register_step_pre_hook(
        lambda *_: found.update({n: p.grad.clone() for n, p in run.bare_model.named_parameters()})
    )
    run.run()
    return found


def test_half_precision_clips_the_gradients_themselves(tiny_run, tmp_path):
    """fp16 scales the loss; what is clipped, and what the optimizer gets, has to be without that scale."""
    clipped = {"max_grad_norm": 0.5}
    expected = gradients_given_to_the_optimizer(tiny_run, tmp_path / "full", **clipped)
    found = gradients_given_to_the_optimizer(tiny_run, tmp_path / "half", mixed_precision="fp16", **clipped)
    norm = torch.stack([gradient.norm() for gradient in found.values()]).norm().item()
    assert norm == pytest.approx(0.5, rel=1e-3)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0.05, atol=2e-3)
    assert logged(tmp_path / "half", "gradient_norm")[1] == pytest.approx(
        logged(tmp_path / "full", "gradient_norm")[1], rel=0.02
    )


def test_the_scale_of_half_precision_survives_a_resume(tiny_run, tmp_path):
    options = {"mixed_precision": "fp16", "save_steps": 2}

    def make(name, **more):
        run = tiny_run.loop(tmp_path / name, **options, **more)
        run.accelerator.scaler.set_growth_interval(3)  # so that the scale is another after update 3
        return run

    make("unbroken").run()
    die_at(make("killed"), 4)
    make("killed", resume=True).run()
    scalers = [
        json.loads((tmp_path / name / "checkpoint-6" / "training_state" / "state.json").read_text())["scaler"]
        for name in ("unbroken", "killed")
    ]
    assert scalers[0] == scalers[1]
    assert scalers[0]["scale"] == 4 * 2.0**16
    assert close(weights(tmp_path / "unbroken"), weights(tmp_path / "killed"), rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_precision_is_that_of_the_products(tiny_run, tmp_path, precision):
    run = tiny_run.loop(tmp_path, max_steps=1, mixed_precision=precision)
    seen = []
    run.bare_model.model.encoder.layers[0].self_attention.q_proj.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    run.run()
    assert set(seen) == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}


# Options whose effect other tests see, and where.
ELSEWHERE = {
    "output_dir": "test_run",
    "resume": "test_resume",
    "overwrite": "test_kept_weights",
    "cpu": "test_accelerator",
    "cpu_threads": "test_accelerator",
    "report_to": "test_reporting",
    "progress_bar": "test_reporting",
    "early_stopping_patience": "test_early_stopping",
    "find_batch_size": "test_memory",
    "push_to_hub": "tests/hub/test_hub",
    "hub_private": "tests/hub/test_hub",
    "gradient_checkpointing": "test_memory",
    "torch_compile": "test_memory",
    "dataloader_workers": "test_data_workers",
    "cache_dir": "test_cache",
}
HERE = {
    *CASES.keys() - {"nothing", "linear"},
    *("max_steps", "num_train_epochs", "max_minutes", "evaluation_minutes", "save_minutes", "seed"),
    *("logging_steps", "evaluation_steps", "save_steps", "keep_checkpoints", "mixed_precision"),
    *("best_metric", "greater_is_better", "final_weights"),
}


def test_every_option_has_a_test():
    assert {option.name for option in dataclasses.fields(LoopArguments)} == HERE | ELSEWHERE.keys()

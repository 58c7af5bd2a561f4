"""A model that is divided over two processes (FSDP2) trains as a whole one does, and its checkpoints are the same."""

import pytest
import torch
from safetensors.torch import load_file

from .test_loop import TWO_PROCESSES, first_gradients

DIVIDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}


@pytest.fixture
def divided(tiny_run, monkeypatch):
    """Runs the program in two processes that share one model."""

    def run(*arguments, **options):
        with monkeypatch.context() as environment:
            for name, value in DIVIDED.items():
                environment.setenv(name, value)
            return tiny_run.program(*arguments, **options)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "pieces"), [(16, 1), (3, 2)])
def test_a_divided_model_computes_the_same_gradients(tiny_run, divided, tmp_path, rows, pieces):
    expected, loss, validation = first_gradients(tiny_run, tmp_path / "whole", rows=rows, max_grad_norm=0.1)
    options = {"max_steps": 1, "rows": rows, "gradient_accumulation_steps": pieces, "max_grad_norm": 0.1}
    done = divided(tmp_path / "two", *TWO_PROCESSES, gradients=tmp_path / "gradients", **options)
    assert done.returncode == 0, done.stderr
    assert tiny_run.metrics(tmp_path / "two")[1] == pytest.approx(loss, rel=1e-6)
    assert tiny_run.metrics(tmp_path / "two", "validation_loss")[1] == pytest.approx(validation, rel=1e-6)
    norms = [tiny_run.metrics(tmp_path / run, "gradient_norm")[1] for run in ("whole", "two")]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    for process in (0, 1):
        found = load_file(tmp_path / f"gradients-{process}")
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_divided_run_is_resumed_bit_for_bit_and_its_checkpoint_by_one_process(tiny_run, divided, tmp_path):
    options = {"save_steps": 2, "dropout": 0.1, "max_grad_norm": 1.0}
    assert divided(tmp_path / "whole", *TWO_PROCESSES, **options).returncode == 0
    assert divided(tmp_path / "parts", *TWO_PROCESSES, **options, die_at=5).returncode != 0
    done = divided(tmp_path / "parts", *TWO_PROCESSES, **options, resume=True)
    assert done.returncode == 0, done.stderr
    assert "continuing from" in done.stderr
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "parts"), tiny_run.weights(tmp_path / "whole"))

    alone = tiny_run.program(tmp_path / "alone", **options)
    assert alone.returncode == 0, alone.stderr
    names = tiny_run.files(tmp_path / "alone").keys()
    assert tiny_run.files(tmp_path / "whole").keys() == names  # the same files, so that each can continue the other
    state = "checkpoint-6/training_state/optimizer.safetensors"
    shapes = [{n: t.shape for n, t in load_file(tmp_path / run / state).items()} for run in ("alone", "whole")]
    assert shapes[0] == shapes[1]
    continued = tiny_run.program(tmp_path / "parts", **options, resume=True, max_steps=8)
    assert continued.returncode == 0, continued.stderr
    assert "the run had 2 processes and now has 1" in continued.stderr


@pytest.mark.slow
def test_the_first_version_of_fsdp_is_refused(tiny_run, divided, tmp_path, monkeypatch):
    monkeypatch.setitem(DIVIDED, "FSDP_VERSION", "1")
    done = divided(tmp_path / "run", *TWO_PROCESSES)
    assert done.returncode != 0
    assert "FSDP of version 1 is not supported; give --fsdp_version 2" in done.stderr
    assert not (tmp_path / "run").exists()

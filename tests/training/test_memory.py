"""What saves memory or time and changes nothing in the result: smaller pieces, recomputed layers, compiled models."""

import signal

import pytest
import torch

from triptych.training.interruption import Interrupted

from .test_loop import TWO_PROCESSES
from .test_sharding import divided  # noqa: F401, a fixture


def test_an_update_without_memory_is_made_again_in_smaller_pieces(tiny_run, tmp_path, capsys):
    loop = tiny_run.loop(tmp_path / "found", dropout=0.3, find_batch_size=True)
    tried = tiny_run.module.limit_memory(loop, 4)
    loop.run()
    assert tried[:4] == [16, 8, 4, 4]
    assert "updates are now made in 4 pieces" in capsys.readouterr().err
    tiny_run.loop(tmp_path / "given", dropout=0.3, gradient_accumulation_steps=4).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "found"), tiny_run.weights(tmp_path / "given"))
    assert tiny_run.metrics(tmp_path / "found") == tiny_run.metrics(tmp_path / "given")


def test_the_pieces_that_were_found_survive_a_stop(tiny_run, tmp_path):
    """The first updates have all the memory, so only the state knows that the later ones came in pieces."""
    options = {"dropout": 0.3, "find_batch_size": True}

    def make(name, **more):
        loop = tiny_run.loop(tmp_path / name, **options, **more)
        loss = loop.objective.loss

        def limited(model, piece, items):
            if model.training and loop.state.step == 2 and len(piece["labels"]) > 8:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            return loss(model, piece, items)

        loop.objective.loss = limited
        return loop

    make("alone").run()
    stopped = make("stopped")
    tiny_run.module.signal_at(stopped, 3, signal.SIGTERM)
    with pytest.raises(Interrupted):
        stopped.run()
    make("stopped", resume=True).run()
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "stopped"), tiny_run.weights(tmp_path / "alone"))


def test_single_rows_without_memory_end_the_run(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, find_batch_size=True)
    tiny_run.module.limit_memory(loop, 0)
    with pytest.raises(ValueError, match=r"too small for an update of one row at a time: .*gradient_checkpointing"):
        loop.run()
    assert loop.state.step == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"max_grad_norm": 1.0}, {"rows": 6, "memory_for": 1}])
def test_processes_agree_on_the_pieces(tiny_run, tmp_path, options):
    """One of two processes has too little memory. The run equals the one that had the right pieces from the start."""
    options = {"dropout": 0.3, "memory_for": 2, **options}
    found = tiny_run.program(tmp_path / "found", *TWO_PROCESSES, **options, find_batch_size=True)
    assert found.returncode == 0, found.stderr
    assert "updates are now made in 4 pieces" in found.stderr
    given = tiny_run.program(tmp_path / "given", *TWO_PROCESSES, **options, gradient_accumulation_steps=4)
    assert given.returncode == 0, given.stderr
    tiny_run.assert_equal(tiny_run.weights(tmp_path / "found"), tiny_run.weights(tmp_path / "given"))
    assert tiny_run.metrics(tmp_path / "found") == tiny_run.metrics(tmp_path / "given")


@pytest.mark.slow
def test_it_is_refused_where_processes_share_a_model(divided, tmp_path):  # noqa: F811
    done = divided(tmp_path / "run", *TWO_PROCESSES, find_batch_size=True)
    assert done.returncode != 0
    assert "find_batch_size does not work where processes share one model (FSDP2): leave it out" in done.stderr
    assert not (tmp_path / "run").exists()


def test_other_errors_are_not_taken_for_missing_memory(tiny_run, tmp_path):
    loop = tiny_run.loop(tmp_path, find_batch_size=True)

    def broken(model, piece, items):
        raise RuntimeError("shapes do not match")

    loop.objective.loss = broken
    with pytest.raises(RuntimeError, match="shapes do not match"):
        loop.run()


def test_batches_that_cannot_be_cut_are_refused(tiny_run, tmp_path):
    arguments = tiny_run.module.LoopArguments(str(tmp_path), find_batch_size=True, cpu=True, report_to="none")
    with pytest.raises(ValueError, match="find_batch_size needs batches with a method cut_into, which list lacks"):
        tiny_run.module.TrainingLoop(tiny_run.module.tiny_model(), arguments, [])


def test_recomputed_layers_give_the_same_training(tiny_run, tmp_path):
    tiny_run.loop(tmp_path / "kept", dropout=0.3).run()
    loop = tiny_run.loop(tmp_path / "recomputed", dropout=0.3, gradient_checkpointing=True)
    calls = []
    layer = loop.bare_model.model.encoder.layers[0]
    layer.feed_forward.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    loop.run()
    training = [call for call in calls if call]  # evaluations run the layer without gradients
    assert len(training) == 2 * loop.state.step
    assert tiny_run.metrics(tmp_path / "recomputed") == pytest.approx(tiny_run.metrics(tmp_path / "kept"), rel=1e-6)
    for name, tensor in tiny_run.weights(tmp_path / "kept").items():
        torch.testing.assert_close(tiny_run.weights(tmp_path / "recomputed")[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_model_that_cannot_recompute_is_refused(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("triptych.TriptychForConditionalGeneration.supports_gradient_checkpointing", False)
    with pytest.raises(ValueError, match="gradient_checkpointing is not possible with TriptychFor"):
        tiny_run.loop(tmp_path, gradient_checkpointing=True)


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_losses(tiny_run, tmp_path):
    tiny_run.loop(tmp_path / "eager").run()
    torch._dynamo.reset()
    tiny_run.loop(tmp_path / "compiled", torch_compile=True, gradient_accumulation_steps=2).run()
    for metric in ("loss", "validation_loss"):
        eager = tiny_run.metrics(tmp_path / "eager", metric)
        assert tiny_run.metrics(tmp_path / "compiled", metric) == pytest.approx(eager, rel=1e-5)
    torch._dynamo.reset()

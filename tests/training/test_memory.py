"""What saves memory or time and changes nothing in the result: smaller pieces, recomputed layers, compiled models."""

import signal

import pytest
import torch

from triptych.training.interruption import Interrupted


def with_memory_for(rows, loop):
    """Lets a loop fail, as a device without memory does, after the forward pass of more rows than these."""
    loss, tried = loop.objective.loss, []

    def limited(model, piece, items):
        result = loss(model, piece, items)
        tried.append(len(piece["labels"]))
        if len(piece["labels"]) > rows and model.training:
            result.backward()  # leaves gradients, which must not count
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    loop.objective.loss = limited
    return tried


def test_an_update_without_memory_is_made_again_in_smaller_pieces(tiny_run, tmp_path, capsys):
    loop = tiny_run.loop(tmp_path / "found", dropout=0.3, find_batch_size=True)
    tried = with_memory_for(4, loop)
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
    with_memory_for(0, loop)
    with pytest.raises(ValueError, match=r"too small for an update of one row at a time: .*gradient_checkpointing"):
        loop.run()
    assert loop.state.step == 0


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

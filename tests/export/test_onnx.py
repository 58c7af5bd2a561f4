"""The format onnx: ONNX Runtime computes what our models compute, for other batches and lengths than the sample's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from triptych.export import export
from triptych.export.onnx_graphs import sample

pytestmark = [pytest.mark.slow, pytest.mark.integrations("onnx", "onnxscript", "onnxruntime")]
ONE_LAYER = {"num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(library) -> Any:
    """Runs a graph on its inputs by their names, and gives its outputs by theirs."""
    sessions: dict[str, Any] = {}

    def graph(name: str, **inputs: Any) -> dict[str, np.ndarray]:
        if name not in sessions:
            sessions[name] = library("onnxruntime").InferenceSession(f"exported/{name}.onnx")
        wanted = {value.name for value in sessions[name].get_inputs()}
        assert "attention_mask" in wanted
        given = {key: np.asarray(value) for key, value in inputs.items() if key in wanted}
        names = [value.name for value in sessions[name].get_outputs()]
        return dict(zip(names, sessions[name].run(None, given), strict=True))

    return graph


def padded(*lengths: int) -> dict[str, Tensor]:
    """Rows of these lengths, padded on the left."""
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, -length:] = tiny.words(length, seed=row)
    return {"input_ids": ids, "attention_mask": (ids != tiny.PAD).long()}


def cache_of(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The cache that a graph gives, by the names under which the next step reads it."""
    return {f"input.{name.removeprefix('output.')}": v for name, v in outputs.items() if "past_key_values" in name}


def test_an_encoder(saved, run):
    model, directory = saved("encoder", **ONE_LAYER)
    assert export(directory, "exported", "onnx") == ["TriptychEncoderForMaskedLM in model.onnx"]
    batch = padded(11, 4, 6)
    with torch.no_grad():
        expected = model(**batch).logits
    np.testing.assert_allclose(run("model", **batch)["logits"], expected.numpy(), atol=1e-4)


def test_a_decoder_with_its_cache(saved, run):
    model, directory = saved("decoder", **ONE_LAYER)
    export(directory, "exported", "onnx")
    batch = padded(9, 5, 7)
    expected = model.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=None)[:, 9:]
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    outputs = run("prefill", **batch, position_ids=positions)
    mask, tokens = batch["attention_mask"], []
    for _ in range(6):
        tokens.append(torch.from_numpy(outputs["logits"][:, -1].argmax(-1)))
        mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.long)], dim=1)
        place = mask.sum(1, keepdim=True) - 1
        step = {"input_ids": tokens[-1][:, None], "attention_mask": mask, "position_ids": place}
        outputs = run("decode", **step, **cache_of(outputs))
    assert torch.equal(torch.stack(tokens, dim=1), expected)


def test_a_translator_with_its_cache(saved, run):
    model, directory = saved("encoder_decoder", encoder_layers=1, decoder_layers=1)
    export(directory, "exported", "onnx")
    batch = padded(9, 5, 7)
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": 1, "eos_token_id": None}
    expected = model.generate(**batch, **options)[:, 1:]
    memory = run("encoder/model", **batch)["last_hidden_state"]
    source = {"attention_mask": batch["attention_mask"], "encoder_outputs.last_hidden_state": memory}
    start = torch.full((3, 1), model.config.decoder_start_token_id)
    outputs, tokens = run("prefill", **source, decoder_input_ids=start), []
    for _ in range(6):
        tokens.append(torch.from_numpy(outputs["logits"][:, -1].argmax(-1)))
        outputs = run("decode", **source, decoder_input_ids=tokens[-1][:, None], **cache_of(outputs))
    assert torch.equal(torch.stack(tokens, dim=1), expected)


@pytest.mark.parametrize("kind", ["TriptychEncoderForMultipleChoice", "TriptychForSequenceClassification"])
def test_heads(saved, run, kind: str):
    layers = {"encoder_layers": 1, "decoder_layers": 1} if "Encoder" not in kind else ONE_LAYER
    model, directory = saved(kind, **layers)
    export(directory, "exported", "onnx")
    batch = {name: torch.cat([value, value], dim=-1) for name, value in sample(model).items()}
    with torch.no_grad():
        expected = model(**batch).logits
    np.testing.assert_allclose(run("model", **batch)["logits"], expected.numpy(), atol=1e-4)


def test_an_architecture_is_no_option(saved):
    _, directory = saved("encoder")
    with pytest.raises(ValueError, match="model_type='bert' has no meaning for the format onnx"):
        export(directory, "exported", "onnx", "bert")
    assert not Path("exported").exists()

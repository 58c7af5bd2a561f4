"""transformers' exporters: torch.export and ONNX graphs of our models, saved, loaded and run at other sizes."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.exporters import DynamoConfig, DynamoExporter, ExportedModel, OnnxConfig, OnnxExporter

ONE_LAYER = {
    "encoder_decoder": {"encoder_layers": 1, "decoder_layers": 1},
    "encoder": {"num_hidden_layers": 1},
    "decoder": {"num_hidden_layers": 1},
}
onnx = pytest.param("onnx", marks=pytest.mark.slow)


@pytest.fixture
def exporter(library) -> Callable[[str], tuple[Any, Any]]:
    """The exporter of a format, and its configuration for inputs of any size."""

    def make(export_format: str) -> tuple[Any, Any]:
        if export_format == "dynamo":
            return DynamoExporter(), DynamoConfig(dynamic=True)
        for name in ("onnx", "onnxscript", "onnxruntime"):
            library(name)
        return OnnxExporter(), OnnxConfig(dynamic=True)

    return make


@pytest.fixture
def inputs(words) -> Callable[..., dict[str, torch.Tensor]]:
    """Ids and mask, the second row padded on the left; an encoder-decoder's with the beginning of a target."""

    def make(family: str, rows: int, length: int) -> dict[str, torch.Tensor]:
        ids = words(rows, length)
        mask = torch.ones_like(ids)
        ids[1, :2], mask[1, :2] = 0, 0
        batch = {"input_ids": ids, "attention_mask": mask}
        if family == "encoder_decoder":
            batch["decoder_input_ids"] = words(rows, length - 3, seed=1)
        return batch

    return make


@pytest.fixture
def reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[[ExportedModel], ExportedModel]:
    # torch 2.13 warns here with one argument too few for its message, which pytest makes an error
    caplog.set_level(logging.ERROR, logger="torch._export.serde.serialize")

    def run(exported: ExportedModel) -> ExportedModel:
        exported.save_pretrained(tmp_path / "exported")
        return ExportedModel.from_pretrained(tmp_path / "exported")

    return run


@pytest.mark.parametrize("export_format", ["dynamo", onnx])
def test_forward(exporter, make_model, family, inputs, reload, export_format: str):
    model = make_model(family, **ONE_LAYER[family])
    export, config = exporter(export_format)
    exported = reload(export.export(model, inputs(family, 2, 7), config))
    assert type(exported.config) is type(model.config)
    for rows, length in ((2, 7), (3, 11)):
        batch = inputs(family, rows, length)
        with torch.no_grad():
            expected = model(**batch)
        output = exported(**batch)
        assert type(output) is type(expected)
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["none", "sinusoidal", "rotary", "relative"])
def test_forward_with_every_position_scheme(exporter, make_model, causal_family, inputs, reload, positions: str):
    model = make_model(causal_family, positions=positions, **ONE_LAYER[causal_family])
    export, config = exporter("dynamo")
    exported = reload(export.export(model, inputs(causal_family, 2, 7), config))
    batch = inputs(causal_family, 3, 11)
    with torch.no_grad():
        expected = model(**batch).logits
    torch.testing.assert_close(exported(**batch).logits, expected, rtol=1e-4, atol=1e-4)


def drive(model: PreTrainedModel, exported: ExportedModel) -> list[str]:
    """Let `generate` run the exported graphs in place of the model; which graph ran is written to the list."""
    ran: list[str] = []

    @functools.wraps(model.forward)
    def forward(**kwargs: Any) -> Any:
        stage = "decode" if ran else "prefill"
        ran.append(stage)
        runner = exported.runners[stage]
        return runner(**{name: kwargs[name] for name in runner.metadata.kwargs})

    model.forward = forward
    return ran


@pytest.mark.slow
@pytest.mark.parametrize("export_format", ["dynamo", "onnx"])
def test_generation(exporter, make_model, causal_family, inputs, reload, export_format: str):
    """The tokens of the graphs of prefill and decoding are those of the model."""
    model = make_model(causal_family, **ONE_LAYER[causal_family])
    export, config = exporter(export_format)
    # An axis of size 1 is taken for a constant, so the target of the sample is longer than the start token.
    exported = reload(export.export_for_generation(model, inputs(causal_family, 2, 7), config))
    assert set(exported.components) == {"prefill", "decode"}

    batch = inputs(causal_family, 3, 11)
    choices = {"max_new_tokens": 9, "min_new_tokens": 9, "do_sample": False}
    expected = model.generate(**batch, **choices)
    ran = drive(model, exported)
    assert torch.equal(model.generate(**batch, **choices), expected)
    assert ran == ["prefill", *["decode"] * 8]

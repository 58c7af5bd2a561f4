"""The format onnx: graphs for ONNX Runtime, for any batch and length, by transformers' own exporter.

| model                           | graphs                                                                       |
|---------------------------------|------------------------------------------------------------------------------|
| decoder that generates text     | `prefill.onnx` reads a text; `decode.onnx` reads the cache and one token     |
| encoder–decoder that does       | the same for the target, and `encoder/model.onnx` for the source             |
| every other                     | `model.onnx`                                                                 |

The names of inputs and outputs are those of `forward`. `export.json` lists them; `ExportedModel.from_pretrained` of
transformers runs the graphs by these names, and ONNX Runtime runs them without transformers.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..tokenization import save_tokenizers
from .formats import Exported
from .vocabulary import first_end

QUANTIZATIONS: tuple[str, ...] = ()
ROWS, LENGTH, CHOICES = 2, 7, 3  # of the sample that is traced: an axis of size 1 would be taken for a constant
ENCODER = "encoder"  # the folder of the graph of the encoder


def check(exported: Exported) -> None:
    """Raises ValueError if this transformers has no exporter, or an architecture of transformers is asked for."""
    if find_spec("transformers.exporters") is None:
        raise ValueError("the format onnx needs transformers.exporters; pip install 'transformers>=5.23'")
    if exported.model_type is not None:
        raise ValueError(
            f"model_type={exported.model_type!r} has no meaning for the format onnx, whose graphs are those of the "
            "model itself; leave it out"
        )


def write(exported: Exported, directory: Path) -> list[str]:
    """Writes the graphs and the tokenizer."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    model, options, exporter = exported.model.float(), OnnxConfig(dynamic=True), OnnxExporter()
    inputs = sample(model)
    with without_progress():
        if not model.can_generate():
            exporter.export(model, inputs, options).save_pretrained(directory)
        else:
            exporter.export_for_generation(model, inputs, options).save_pretrained(directory)
            if model.config.is_encoder_decoder:
                source = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
                encoder = exporter.export(model.get_encoder(), source, options)
                encoder.save_pretrained(directory / ENCODER)
    if exported.tokenizers:
        save_tokenizers(directory, *exported.tokenizers)
    graphs = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*.onnx"))
    return [f"{type(model).__name__} in {', '.join(graphs)}"]


def sample(model: PreTrainedModel) -> dict[str, Tensor]:
    """Inputs of the kinds that the model takes: ids (B, T) or (B, C, T), their mask, and ids of a target (B, T)."""
    config = model.config
    shape = (ROWS, CHOICES, LENGTH) if "ForMultipleChoice" in type(model).__name__ else (ROWS, LENGTH)
    ids = (torch.arange(LENGTH) % config.vocab_size).expand(shape).clone()
    ids[..., -1] = first_end(config) or 0  # the heads of the encoder–decoder look for the end of the text
    mask = torch.ones_like(ids)
    mask[1, ..., :2] = 0  # without padding in the sample, the graph of a decoder would have no mask
    inputs = {"input_ids": ids, "attention_mask": mask}
    if config.is_encoder_decoder and model.can_generate():
        inputs["decoder_input_ids"] = torch.zeros(ROWS, LENGTH - 3, dtype=torch.long)
    return inputs


@contextmanager
def without_progress() -> Iterator[None]:
    """Silences what torch's exporter tells about each of its steps."""
    names = ("torch.onnx", "torch._export", "transformers.exporters", "onnxscript")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)

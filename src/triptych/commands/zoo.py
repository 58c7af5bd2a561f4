"""
Prints the presets, which have the sizes of published models, with the number of parameters counted in each.

    triptych zoo
    triptych zoo --notes gpt3-xl gpt3-13b

Every model is built without memory for its weights, so even the largest ones take little time.
"""

import torch

from .. import modeling
from ..configuration import preset_info, preset_names
from ..modeling import TriptychPreTrainedModel
from ..training.command_line import OptionParser

HEADINGS = ("name", "family", "layers", "width", "heads", "parameters", "published", "source")
ALIGNMENT = "<<>>>>><"


def counted_model(preset: str) -> TriptychPreTrainedModel:
    """The model whose parameters the published number of the preset counts. It is on the meta device: shapes only.

    Raises:
        ValueError: the preset is unknown.
    """
    class_name, _, part = preset_info(preset)["counted"].partition(".")
    model_class = getattr(modeling, class_name)
    config = model_class.config_class.from_preset(preset)
    with torch.device("meta"):
        model: TriptychPreTrainedModel = model_class(config).get_submodule(part)  # an empty part is the whole model
    return model


def row(name: str) -> tuple[str, ...]:
    """One line of the table."""
    info, model = preset_info(name), counted_model(name)
    config = model.config
    layers = f"{config.num_hidden_layers}"
    if config.is_encoder_decoder:
        layers = f"{config.encoder_layers}+{config.decoder_layers}"
    published = f"{info['parameters']:,}" if "parameters" in info else "-"
    width, heads = f"{config.hidden_size}", f"{config.num_attention_heads} x {config.head_dim}"
    return name, config.model_type, layers, width, heads, f"{model.num_parameters():,}", published, info["source"]


def main(args: list[str] | None = None) -> None:
    parser = OptionParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="Presets (default: all).")
    parser.add_argument("--notes", action="store_true", help="Also print what is unpublished or contradictory.")
    arguments = parser.parse_args(args)

    rows = [HEADINGS, *(row(name) for name in arguments.names or preset_names())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        columns = zip(cells, ALIGNMENT, widths, strict=True)
        print("  ".join(f"{cell:{side}{width}}" for cell, side, width in columns).rstrip())
        if arguments.notes and cells is not HEADINGS and "note" in (info := preset_info(cells[0])):
            print(f"    {info['note']}")

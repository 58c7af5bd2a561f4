"""M2M-100 (Fan et al. 2021) and NLLB (NLLB Team 2022): fairseq's Transformer with norms before the sublayers."""

from typing import Any

from ...configuration import TriptychConfig
from ..architecture import Architecture, CannotExpress
from ..rules import rules
from . import bart
from .bart import EMBEDDINGS, FIELDS, FIXED, LAYERS, REFUSED, write

SINUSOIDS = {"positions": "sinusoidal", "sinusoid_layout": "tensor2tensor"}


def check_padding(theirs: Any) -> None:
    """fairseq numbers positions from behind the id of the padding, and has no position for a padding token.

    Raises:
        CannotExpress: there is no padding token, or the decoder starts with it, whose input would have no position.
    """
    if theirs.pad_token_id is None or theirs.pad_token_id == theirs.decoder_start_token_id:
        raise CannotExpress(
            f"{type(theirs).__name__} has pad_token_id={theirs.pad_token_id} and decoder_start_token_id="
            f"{theirs.decoder_start_token_id}: positions are counted from the id of the padding, which itself has none"
        )


def read(theirs: Any, head: str) -> dict[str, Any]:
    check_padding(theirs)
    return {**bart.read(theirs, head), "position_offset": theirs.pad_token_id + 1}


M2M_100 = Architecture(
    model_type="m2m_100",
    config_class=TriptychConfig,
    heads={
        "M2M100Model": "TriptychModel",
        "M2M100ForConditionalGeneration": "TriptychForConditionalGeneration",
    },
    fields=FIELDS,
    fixed={**FIXED, **SINUSOIDS, "residual": "pre"},
    refused=REFUSED,
    masked_positions="skipped",
    read=read,
    write=write,
    rules=(*EMBEDDINGS, *rules(LAYERS)),
    sinusoids=("embed_positions.weights", "tensor2tensor"),
)

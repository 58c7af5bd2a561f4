"""M2M-100 (Fan et al. 2021) and NLLB (NLLB Team 2022): fairseq's Transformer with norms before the sublayers."""

from typing import Any

from ...configuration import TriptychConfig
from ..rules import rules
from ..shared import fairseq
from ..shared.fairseq import EMBEDDINGS, FIELDS, FIXED, LAYERS, REFUSED, SINUSOIDS, check_padding, write
from ..table import Architecture


def read(hf_config: Any, head: str) -> dict[str, Any]:
    check_padding(hf_config)
    return {**fairseq.read(hf_config, head), "position_offset": hf_config.pad_token_id + 1}


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

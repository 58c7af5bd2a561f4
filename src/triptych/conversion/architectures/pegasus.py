"""PEGASUS (Zhang et al. 2020): Marian's model with norms before the sublayers."""

from ...configuration import TriptychConfig
from ..arrangements import Row
from ..rules import rules
from ..shared.fairseq import EMBEDDINGS, FIELDS, FIXED, LAYERS, REFUSED, TABLES, read, write
from ..table import Architecture

PEGASUS = Architecture(
    model_type="pegasus",
    config_class=TriptychConfig,
    heads={"PegasusModel": "TriptychModel", "PegasusForConditionalGeneration": "TriptychForConditionalGeneration"},
    fields=FIELDS,
    fixed={
        **FIXED,
        "positions": "sinusoidal",
        "sinusoid_layout": "concatenated",
        "residual": "pre",
        "head_bias": True,
    },
    refused=REFUSED,
    read=read,
    write=write,
    rules=(
        *EMBEDDINGS,
        *rules(LAYERS),
        *rules({"final_logits_bias": "lm_head.bias"}, Row()),
        *TABLES,
    ),
    sinusoids=("embed_positions.weight", "concatenated"),
)

"""PEGASUS (Zhang et al. 2020): Marian's model with norms before the sublayers."""

from ..shared.fairseq import read, sinusoidal_architecture, write

PEGASUS = sinusoidal_architecture(
    "pre",
    model_type="pegasus",
    heads={"PegasusModel": "TriptychModel", "PegasusForConditionalGeneration": "TriptychForConditionalGeneration"},
    read=read,
    write=write,
)

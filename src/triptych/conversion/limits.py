"""How many tokens an encoder–decoder can take, be it ours or one of transformers' own."""

from typing import Literal

from transformers import PreTrainedConfig

from ..configuration import TriptychBaseConfig

# Their sinusoids are computed for any position; Marian's and Pegasus' are a table with so many rows.
COMPUTED = {"fsmt", "m2m_100", "nllb-moe", "pegasus_x", "seamless_m4t", "seamless_m4t_v2"}
# The table has rows for the padding, and for what stands before it, that no token uses.
BEHIND_PADDING = {"camembert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}


def position_limit(config: PreTrainedConfig, side: Literal["encoder", "decoder"]) -> int | None:
    """The most tokens that one side of a model can take; None: any number.

    Only a table of positions is a limit. Relative and rotary positions, and computed sinusoids, are of any length,
    whatever `max_position_embeddings` says.
    """
    if isinstance(config, TriptychBaseConfig):
        return config.stack_config(f"{side}.").position_limit
    part = getattr(config, side, None)  # of an EncoderDecoderConfig
    if isinstance(part, PreTrainedConfig):
        return position_limit(part, side)
    if config.model_type in COMPUTED or getattr(config, "rope_parameters", None):
        return None
    rows: int | None = getattr(config, f"max_{side}_position_embeddings", None)  # LED has one for each side
    if rows is None:
        rows = getattr(config, "max_position_embeddings", None)
    if rows is not None and config.model_type in BEHIND_PADDING:
        return rows - (config.pad_token_id or 0) - 1
    return rows

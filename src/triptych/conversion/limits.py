"""The number of tokens that an encoder–decoder of Triptych or of transformers can take."""

from typing import Literal

from transformers import PreTrainedConfig

UNLIMITED = 10**9  # more tokens than a text has; a tokenizer without a limit has model_max_length=1e30
# These compute their sinusoids for any position. (Marian and Pegasus have a table of sinusoids, which is a limit.)
COMPUTED = {"fsmt", "m2m_100", "nllb-moe", "pegasus_x", "seamless_m4t", "seamless_m4t_v2"}
# Their tables have rows that no token uses: the row of the padding, and the rows before it.
BEHIND_PADDING = {"camembert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"}


def position_limit(config: PreTrainedConfig, side: Literal["encoder", "decoder"]) -> int | None:
    """The greatest number of tokens that one side of a model can take; None: any number.

    Only a table of positions is a limit. Relative positions, rotary positions and computed sinusoids take any length,
    whatever `max_position_embeddings` is.
    """
    if hasattr(config, "stack_config"):  # one of this package, or of the code that travels with a checkpoint
        limit: int | None = config.stack_config(f"{side}.").position_limit
        return limit
    part = getattr(config, side, None)  # an EncoderDecoderConfig has a configuration for each side
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

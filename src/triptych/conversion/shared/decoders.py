"""What the tables of several decoders share: names of fields, rotary positions, bands of attention, dropouts."""

from functools import partial
from typing import Any

from ...configuration import TriptychDecoderConfig
from ...configuration.patterns import shortest_pattern
from ..table import CannotExpress, named_alike

QUERIES_KEYS_VALUES = tuple(f"layers.{{i}}.self_attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))
# (name of the architecture in class names, kinds of heads) → {class of transformers: class of Triptych}
heads = partial(named_alike, "TriptychDecoder")
HEADS = ("ForCausalLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
# Fields for which most decoders have the same names as Triptych.
SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "attention_dropout": "attention_dropout",
}


def rotation(hf_config: Any) -> dict[str, Any]:
    """Reads the rotary positions of an architecture that rotates all dimensions of a head.

    Raises:
        CannotExpress: only a part of each head is rotated; the architecture ignores that with some of the scalings.
    """
    part = hf_config.rope_parameters.get("partial_rotary_factor", 1.0)
    if part != 1.0:
        raise CannotExpress(f"{type(hf_config).__name__} has partial_rotary_factor={part}, which its rotation ignores")
    return {"rope_parameters": dict(hf_config.rope_parameters)}


def partial_rotation(hf_config: Any) -> dict[str, Any]:
    """Reads the rotary positions of an architecture that rotates only the first dimensions of a head."""
    rope, width = dict(hf_config.rope_parameters), hf_config.hidden_size // hf_config.num_attention_heads
    rotated = int(width * rope.pop("partial_rotary_factor", 1.0))
    return {"rope_parameters": rope, "rotary_dim": None if rotated == width else rotated}


def write_partial_rotation(config: TriptychDecoderConfig) -> dict[str, Any]:
    """The way back of `partial_rotation`."""
    return {"rope_parameters": {"partial_rotary_factor": 1.0, **(config.rope_parameters or {})}}


def write_rotation(config: TriptychDecoderConfig) -> dict[str, Any]:
    """The way back of `rotation`."""
    return {"rope_parameters": dict(config.rope_parameters or {})}


def bands(kinds: list[str | int]) -> dict[str, Any]:
    """The shortest pattern for what each layer sees: "full", or the width of a band."""
    return {"attention_pattern": shortest_pattern(kinds)}


TOKEN_DROPOUT = 0.1  # of the head for tokens in transformers, if the configuration does not say another value


def read_token_dropout(hf_config: Any, head: str) -> dict[str, Any]:
    """Reads the dropout before a classifier of tokens, which a configuration need not have."""
    if not head.endswith("ForTokenClassification"):
        return {}
    named = getattr(hf_config, "classifier_dropout", None)
    return {"classifier_dropout": TOKEN_DROPOUT if named is None else named}


def write_token_dropout(config: TriptychDecoderConfig, head: str) -> dict[str, Any]:
    """The way back of `read_token_dropout`."""
    rate = config.classifier_dropout_rate
    differs = head.endswith("ForTokenClassification") and rate != TOKEN_DROPOUT
    return {"classifier_dropout": rate} if differs else {}

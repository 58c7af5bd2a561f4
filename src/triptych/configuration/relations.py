"""Relations between the fields of a configuration: which combinations of values make a model."""

import math
from typing import Any

from .choices import ROPE_TYPE_CHOICES
from .messages import logger

LARGEST_MATRIX = 2**40  # numbers; 4 TiB in float32, more than 200 times the largest matrix of a preset


def check_heads(config: Any) -> None:
    """Raises ValueError where the query heads cannot share the key and value heads evenly."""
    if config.num_attention_heads % config.num_key_value_heads:
        raise ValueError(
            f"num_attention_heads={config.num_attention_heads} is not a multiple of num_key_value_heads="
            f"{config.num_key_value_heads}; choose a divisor of num_attention_heads"
        )


def check_sinusoidal(config: Any) -> None:
    """Raises ValueError where sines and cosines do not come in pairs."""
    if config.hidden_size % 2:
        raise ValueError(f"sinusoidal positions need an even hidden_size, got {config.hidden_size}")


def check_rotary(config: Any) -> None:
    """Raises ValueError where the rotation is unknown, or its width is odd or greater than that of a head."""
    parameters = config.rope_parameters or {}
    rope_type, base = parameters.get("rope_type"), parameters.get("rope_theta")
    if rope_type not in ROPE_TYPE_CHOICES:
        raise ValueError(
            f"unknown rope_type {rope_type!r} in rope_parameters; choose one of: {', '.join(ROPE_TYPE_CHOICES)}"
        )
    if not isinstance(base, int | float) or not 0 < base < math.inf:
        raise ValueError(f"rope_theta={base!r} in rope_parameters must be a finite number greater than 0")
    width = config.head_dim if config.rotary_dim is None else config.rotary_dim
    if width % 2 or width > config.head_dim:
        raise ValueError(
            f"rotary positions rotate pairs: rotary_dim={width} must be even and at most head_dim={config.head_dim}"
        )


def check_relative(config: Any) -> None:
    """Raises ValueError where the buckets leave no room for far distances, or layers would need different biases."""
    exact_buckets = config.relative_num_buckets // 2
    if config.relative_max_distance <= exact_buckets:
        raise ValueError(
            f"relative_max_distance={config.relative_max_distance} must exceed relative_num_buckets/2="
            f"{exact_buckets}, the number of distances that have one bucket each"
        )
    check_full_attention(config)


def check_full_attention(config: Any) -> None:
    """Raises ValueError where positions add one bias to all layers, and some layers attend within a band."""
    if config.sliding_window is not None:
        raise ValueError(
            f"attention_pattern={config.attention_pattern} does not fit {config.positions} positions, which add one "
            "bias to all layers; set attention_pattern=None or choose other positions"
        )


# What a position scheme demands of the other fields.
POSITION_CHECKS = {
    "sinusoidal": check_sinusoidal,
    "rotary": check_rotary,
    "relative": check_relative,
    "alibi": check_full_attention,
}


def check_positions(config: Any) -> None:
    """Raises ValueError where the position scheme does not fit the other fields."""
    if check := POSITION_CHECKS.get(config.positions):
        check(config)


def check_matrices(config: Any) -> None:
    """Raises ValueError where a matrix is too large for any memory. The message names the two sizes of the matrix."""
    heads, are_learned = config.num_attention_heads, int(config.positions == "learned")
    matrices = {
        ("vocab_size", "hidden_size"): 1,
        ("decoder_vocab_size", "hidden_size"): 1,
        ("type_vocab_size", "hidden_size"): 1,
        ("max_position_embeddings", "hidden_size"): are_learned,
        ("hidden_size", "intermediate_size"): 1,
        ("hidden_size", "head_dim"): heads,
        ("hidden_size", "value_head_dim"): heads,
    }
    for (rows, columns), factor in matrices.items():
        height, width = getattr(config, rows, None) or 0, getattr(config, columns)
        if height * width * factor > LARGEST_MATRIX:
            of_heads = f" for {factor} heads" if factor > 1 else ""
            raise ValueError(
                f"{rows}={height} and {columns}={width}{of_heads} make a matrix of {height * width * factor} "
                f"numbers, which is more than {LARGEST_MATRIX}; choose smaller sizes"
            )


def check_token_ids(config: Any, vocabularies: dict[str, int]) -> None:
    """Raises ValueError where a special token lies outside its vocabulary.

    Args:
        vocabularies: the field of each special token → the size of the vocabulary that the token belongs to.
    """
    for name, vocab_size in vocabularies.items():
        ids = getattr(config, name)
        for token_id in ids if isinstance(ids, list) else [ids]:
            if token_id is not None and not 0 <= token_id < vocab_size:
                raise ValueError(
                    f"{name}={token_id} lies outside the vocabulary of {vocab_size} tokens; "
                    f"set it to an id below {vocab_size}, to None, or enlarge the vocabulary"
                )


def drop_foreign_tokens(config: Any, vocabularies: dict[str, int]) -> None:
    """Sets a special token to None, with a warning, where it is a default that lies outside the vocabulary.

    A default id (GPT-2's 50256) means nothing in a smaller vocabulary. An id that a user chose is not changed here, so
    `check_token_ids` refuses it.
    """
    for name, vocab_size in vocabularies.items():
        default = type(config).__dataclass_fields__[name].default
        if default is not None and getattr(config, name) == default >= vocab_size:
            logger.warning_once(
                f"{type(config).__name__}: the default {name}={default} lies outside the vocabulary of {vocab_size} "
                f"tokens, so None is used; set {name} if there is such a token"
            )
            setattr(config, name, None)

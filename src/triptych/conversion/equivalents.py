"""Equivalent forms: other fields and other weights with which a Triptych model computes the same.

An architecture of transformers may lack a field's value and still have a model with the same outputs: a missing bias
is a bias of zeros, and interleaved sinusoids are concatenated ones in another order of the channels. A `Form` is one
such step. It changes fields of the configuration and rewrites the weights, and the result is a Triptych model again.
So the tables of the architectures stay exact: they read and write the model in its new form.

d is the width of the residual stream, whose d numbers are called channels.
"""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig
from ..modeling.positions import SINUSOIDS

Tensors = dict[str, Tensor]
Rewrite = Callable[[Tensors, TriptychBaseConfig, TriptychBaseConfig], None]
Fields = Callable[[TriptychBaseConfig, Any], dict[str, Any] | None]


@dataclass(frozen=True)
class Form:
    """A step to an equivalent model.

    Args:
        fields: (configuration, the value that its field shall have) → the fields that change; None: there is no
            equivalent model with this value.
        rewrite: (weights, configuration before, configuration after): changes the dictionary of weights in place.
        says: what was done, for the user.
        cost: how much is given up for it; of several ways the cheapest is taken.
        keeps_channels: whether hidden states have their channels in the same order as before.
    """

    fields: Fields
    rewrite: Rewrite
    says: str
    cost: int = 1
    keeps_channels: bool = True


@dataclass(frozen=True)
class Step:
    """A form that is applied to one model, which has the given configurations before and after it."""

    form: Form
    before: TriptychBaseConfig
    after: TriptychBaseConfig


def steps_towards(config: TriptychBaseConfig, wanted: dict[str, Any], keeps_channels: bool) -> Iterator[Step]:
    """The steps that give one of the fields the value that is wanted, the cheapest form of a field first.

    Args:
        wanted: {field: value}.
        keeps_channels: leave out the forms that change the order of the channels.
    """
    for name, value in wanted.items():
        for form in FORMS.get(name, ()):
            changes = form.fields(config, value) if form.keeps_channels or not keeps_channels else None
            if changes is not None:
                yield Step(form, config, with_fields(config, changes))


def without_form(config: TriptychBaseConfig, wanted: dict[str, Any], keeps_channels: bool) -> dict[str, Any]:
    """Those of the wanted values to which no form leads."""
    return {
        name: value
        for name, value in wanted.items()
        if next(steps_towards(config, {name: value}, keeps_channels), None) is None
    }


def with_fields(config: TriptychBaseConfig, fields: dict[str, Any]) -> TriptychBaseConfig:
    """A copy of the configuration with other values, which hold for both sides of an encoder–decoder."""
    changed = copy.deepcopy(config)
    overrides = getattr(changed, "decoder_overrides", None)
    if overrides:
        changed.decoder_overrides = {name: v for name, v in overrides.items() if name not in fields} or None
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


# ---- which fields change --------------------------------------------------------------------------------------------


def is_common(config: TriptychBaseConfig, *names: str) -> bool:
    """Whether both sides of an encoder–decoder have the same values of these fields. Other models have one side."""
    return not set(names) & set(getattr(config, "decoder_overrides", None) or {})


def if_true(name: str) -> Fields:
    """The field becomes True; there is no equivalent where it shall be False."""
    return lambda config, value: {name: True} if value is True else None


def if_false(name: str) -> Fields:
    """The field becomes False; there is no equivalent where it shall be True."""
    return lambda config, value: {name: False} if value is False else None


def to_number(name: str, **further: Any) -> Fields:
    """The field gets any value, and the others the values that are given."""
    return lambda config, value: {name: value, **further} if is_common(config, name) else None


def attention_scale(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    """The factor 1/√d_k of each side depends on the width of its heads, and all queries are scaled alike."""
    fits = is_common(config, "attention_scale", "num_attention_heads", "head_dim")
    return {"attention_scale": value} if fits else None


def other_order(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    orders = {config.sinusoid_layout, value}
    fits = orders == {"interleaved", "concatenated"} and config.positions == "sinusoidal"
    return {"sinusoid_layout": value} if fits and is_common(config, "positions", "sinusoid_layout") else None


def table_of_positions(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    fits = config.positions == "sinusoidal" and value != "sinusoidal"
    needed = ("positions", "sinusoid_layout", "position_offset", "max_position_embeddings")
    return {"positions": "learned"} if fits and is_common(config, *needed) else None


def other_offset(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    fits = config.positions == "learned" and is_common(config, "positions", "position_offset")
    return {"position_offset": value} if fits else None


def two_vocabularies(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    """Two matrices for one vocabulary are as well two vocabularies of one size, which transformers can say."""
    is_one = getattr(config, "decoder_vocab_size", 0) is None
    return {"decoder_vocab_size": config.vocab_size} if value is True and is_one else None


def segment(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    return {"type_vocab_size": value} if not config.type_vocab_size else None


def separate_heads(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
    fits = value == config.num_attention_heads and is_common(config, "num_key_value_heads", "num_attention_heads")
    return {"num_key_value_heads": value} if fits else None


def wider_heads(name: str) -> Fields:
    """The width of queries and keys, or of values, grows. Rotated channels cannot be filled up."""

    def fields(config: TriptychBaseConfig, value: Any) -> dict[str, Any] | None:
        fits = value > getattr(config, name) and config.positions != "rotary"
        widths = {"head_dim": config.head_dim, "value_head_dim": config.value_head_dim, name: value}
        return widths if fits and is_common(config, "positions", "num_attention_heads", *widths) else None

    return fields


# ---- how the weights change -----------------------------------------------------------------------------------------

MATRIX_OF = {
    "attention_bias": re.compile(r"(.*\.(?:q_proj|k_proj|v_proj))\.weight"),
    "attention_output_bias": re.compile(r"(.*\.o_proj)\.weight"),
    "feed_forward_bias": re.compile(r"(.*\.(?:up_proj|gate_proj|down_proj))\.weight"),
    "head_bias": re.compile(r"(lm_head)\.weight"),
    "norm_bias": re.compile(r"(.*norms\.\w+|(?:.*\.)?(?:embedding_)?norm)\.weight"),
}
EMBEDDINGS = re.compile(r"(?:model\.)?(?:decoder_)?embed_tokens\.weight")
SOURCE = "embed_tokens.weight"
OUTPUT_MAP = re.compile(r"lm_head\.weight")
QUERIES = re.compile(r".*\.q_proj\.(?:weight|bias)")
KEYS = re.compile(r".*\.k_proj\.(?:weight|bias)")
VALUES = re.compile(r".*\.v_proj\.(?:weight|bias)")
OUTPUTS = re.compile(r".*\.o_proj\.weight")
# Which dimensions of a tensor are the channels. Dense layers between two vectors of width d get the new order on both
# sides, like everything that has this width.
CHANNELS = (
    (re.compile(r"(?:.*\.)?(?:embed_tokens|decoder_embed_tokens|table|lm_head)\.weight"), (1,)),
    (re.compile(r".*\.(?:q_proj|k_proj|v_proj|up_proj|gate_proj)\.weight"), (1,)),
    (re.compile(r".*\.(?:o_proj|down_proj)\.(?:weight|bias)"), (0,)),
    (re.compile(r"(?:.*norms\.\w+|(?:.*\.)?(?:embedding_)?norm)\.(?:weight|bias)"), (0,)),
    (re.compile(r"(?:.*\.)?dense\.weight"), (0, 1)),
    (re.compile(r"(?:.*\.)?dense\.bias"), (0,)),
    (re.compile(r"(?:classifier|score)(?:\.out_proj)?\.weight|(?:qa_outputs|next_sentence)\.weight"), (1,)),
    (re.compile(r".*\.(?:q_proj|k_proj|v_proj|up_proj|gate_proj)\.bias|lm_head\.bias"), ()),
    (re.compile(r"(?:classifier|score)(?:\.out_proj)?\.bias|(?:qa_outputs|next_sentence)\.bias"), ()),
)


def change(tensors: Tensors, names: re.Pattern[str], by: Callable[[Tensor], Tensor]) -> None:
    """Replaces all tensors whose names match."""
    for name, tensor in tensors.items():
        if names.fullmatch(name):
            tensors[name] = by(tensor)


def token_embeddings(tensors: Tensors) -> tuple[str, Tensor]:
    """What stands before the names of the body, and the embeddings of the (source) tokens."""
    (prefix,) = (name.removesuffix(SOURCE) for name in tensors if name in (SOURCE, f"model.{SOURCE}"))
    return prefix, tensors[prefix + SOURCE]


def nothing(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """The weights stay. A tied matrix is in the dictionary under each of its names, so it is there already."""


def zero_biases(field: str) -> Rewrite:
    """Every map or norm of the field gets a bias of zeros."""

    def rewrite(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
        if field == "norm_bias" and before.norm != "layer":
            return  # an RMS norm has no bias, whatever the field says
        for match in [match for name in tensors if (match := MATRIX_OF[field].fullmatch(name))]:
            weight = tensors[match[0]]
            tensors.setdefault(f"{match[1]}.bias", weight.new_zeros(weight.shape[0]))

    return rewrite


def reorder_channels(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """Sines and cosines in turn become two halves, or the other way round; all weights follow.

    Raises:
        ValueError: it is not known which dimensions of a tensor are the channels.
    """
    channels = torch.arange(before.hidden_size)
    order = torch.cat([channels[0::2], channels[1::2]])
    order = order if after.sinusoid_layout == "concatenated" else order.argsort()
    for name, tensor in tensors.items():
        dimensions = next((where for pattern, where in CHANNELS if pattern.fullmatch(name)), None)
        if dimensions is None:
            raise ValueError(f"{name} has no place in the table of channels, so their order cannot be changed")
        for dimension in dimensions:
            tensor = tensor.index_select(dimension, order.to(tensor.device))
        tensors[name] = tensor


def write_positions(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """Every stack gets a table with the sinusoids of its first `max_position_embeddings` positions."""
    angles, arrange = SINUSOIDS[before.sinusoid_layout]
    prefix, embeddings = token_embeddings(tensors)
    rows = torch.arange(before.max_position_embeddings + before.position_offset)
    table = arrange(angles(rows, before.hidden_size)).to(embeddings)
    for stack in before.stacks:
        tensors[f"{prefix}{stack}positions.table.weight"] = table.clone()


def shift_positions(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """Rows that no token uses are put before a table of positions, or are taken away."""
    more = after.position_offset - before.position_offset

    def shifted(table: Tensor) -> Tensor:
        return torch.cat([table.new_zeros(more, table.shape[1]), table]) if more > 0 else table[-more:].clone()

    change(tensors, re.compile(r".*positions\.table\.weight"), shifted)


def zero_segments(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    prefix, embeddings = token_embeddings(tensors)
    stack = next(iter(before.stacks))  # in an encoder–decoder only the encoder has segments
    tensors[f"{prefix}{stack}segments.table.weight"] = embeddings.new_zeros(after.type_vocab_size, after.hidden_size)


def scale_embeddings(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    factor = before.embedding_factor / after.embedding_factor
    change(tensors, EMBEDDINGS, lambda matrix: matrix * factor)


def scale_output_map(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    factor = before.logit_scale / after.logit_scale
    change(tensors, OUTPUT_MAP, lambda matrix: matrix * factor)


def scale_queries(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    factor = before.attention_factor / after.attention_factor
    change(tensors, QUERIES, lambda rows: rows * factor)


def repeat_groups(rows: Tensor, width: int, times: int) -> Tensor:
    """Every group of `width` rows stands `times` times, one after the other."""
    return rows.unflatten(0, (-1, width)).repeat_interleave(times, 0).flatten(0, 1)


def repeat_keys_and_values(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """Every query head gets a copy of the keys and values that it shared."""
    times = after.num_key_value_heads // before.num_key_value_heads
    for names, width in ((KEYS, before.head_dim), (VALUES, before.value_head_dim)):
        change(tensors, names, partial(repeat_groups, width=width, times=times))


def widen_heads(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """Heads are filled up with zeros, and the queries make up for the other factor 1/√d_k."""

    def filled(old: int, new: int) -> Callable[[Tensor], Tensor]:
        def fill(rows: Tensor) -> Tensor:
            heads = rows.unflatten(0, (-1, old))
            return torch.cat([heads, heads.new_zeros(len(heads), new - old, *heads.shape[2:])], dim=1).flatten(0, 1)

        return fill

    for names in (QUERIES, KEYS):
        change(tensors, names, filled(before.head_dim, after.head_dim))
    fill = filled(before.value_head_dim, after.value_head_dim)
    change(tensors, VALUES, fill)
    change(tensors, OUTPUTS, lambda matrix: fill(matrix.t()).t().contiguous())
    scale_queries(tensors, before, after)


def split_embeddings(tensors: Tensors, before: TriptychBaseConfig, after: TriptychBaseConfig) -> None:
    """The decoder gets a copy of the embeddings."""
    (name,) = [name for name in tensors if EMBEDDINGS.fullmatch(name)]
    tensors[name.replace("embed_tokens", "decoder_embed_tokens")] = tensors[name].clone()


UNTIED = {"tie_word_embeddings": False}
# {field: the forms in which it has another value, the cheapest first}
FORMS: dict[str, tuple[Form, ...]] = {
    **{name: (Form(if_true(name), zero_biases(name), f"biases of zeros ({name})"),) for name in MATRIX_OF},
    "sinusoid_layout": (
        Form(
            other_order,
            reorder_channels,
            "channels in another order, so that sines and cosines stand in its halves or in turn; hidden states have "
            "this order, too (sinusoid_layout)",
            keeps_channels=False,
        ),
        Form(table_of_positions, write_positions, "a table of sinusoids, which ends at max_position_embeddings", 10),
    ),
    "positions": (
        Form(table_of_positions, write_positions, "a table of sinusoids, which ends at max_position_embeddings", 10),
    ),
    "position_offset": (
        Form(other_offset, shift_positions, "other rows of positions before those in use (position_offset)", 2),
    ),
    "type_vocab_size": (Form(segment, zero_segments, "a segment of zeros (type_vocab_size)"),),
    "tie_word_embeddings": (
        Form(if_false("tie_word_embeddings"), nothing, "a copy of the embeddings as map to the vocabulary", 3),
    ),
    "share_encoder_decoder_embeddings": (
        Form(
            if_false("share_encoder_decoder_embeddings"),
            split_embeddings,
            "a copy of the embeddings for the decoder",
            3,
        ),
        Form(two_vocabularies, nothing, "two vocabularies of one size (decoder_vocab_size)"),
    ),
    "embedding_scale": (
        Form(to_number("embedding_scale", **UNTIED), scale_embeddings, "scaled embeddings (embedding_scale)", 3),
    ),
    "logit_scale": (
        Form(to_number("logit_scale", **UNTIED), scale_output_map, "a scaled map to the vocabulary (logit_scale)", 3),
    ),
    "attention_scale": (Form(attention_scale, scale_queries, "scaled queries (attention_scale)"),),
    "num_key_value_heads": (
        Form(separate_heads, repeat_keys_and_values, "keys and values repeated for each head", 3),
    ),
    **{
        name: (Form(wider_heads(name), widen_heads, f"heads filled up with zeros ({name})", 2),)
        for name in ("head_dim", "value_head_dim")
    },
}

"""Every field of every configuration of theirs, with a value that is not the default: its effect is ours, and back.

What has an effect has the same one in the model that `from_hf` makes, and in the one that `to_hf` makes of that when
it remembers nothing of where it came from; or the field is refused by name. Effects are looked at, not tables: the
numbers that come out, and every dropout that is applied in training, in its order. A new table is tried unasked.
"""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

import triptych
from triptych.conversion import Architecture, CannotExpress, known_architectures
from triptych.conversion.fields import EMBEDDING_DROPOUT, LAYERS_LEFT_OUT, SPAN_DROPOUT

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
TINY = {  # by whatever name a configuration has for it
    **dict.fromkeys(("vocab_size", "src_vocab_size", "tgt_vocab_size"), 53),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "hidden_dim"), 24),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 20),
    "attention_types": [[["global", "local"], 1]],
    "d_kv": 6,
    "relative_attention_max_distance": 12,
    "relative_attention_num_buckets": 8,
    "rotary_dim": 4,
    "word_embed_proj_dim": 16,
}
OTHER = {  # where another value of the same kind would not do
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim"), 32),
    "pad_token_id": 4,
    "bos_token_id": 6,
    "eos_token_id": 7,
    "decoder_start_token_id": 8,
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_head", "n_heads"), 4),
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 8,  # not as the encoder
    **dict.fromkeys(("ffn_hidden_size", "n_inner", "intermediate_size"), 40),
    **dict.fromkeys(("activation_function", "hidden_act", "activation", "afn"), "silu"),
    "attention_types": [[["local"], 2]],
    "decoder_ffn_dim": 28,
    "feed_forward_proj": "gated-silu",
    "head_dim": 6,
    "num_kv_heads": 1,
    "num_key_value_heads": 1,
    "rope_parameters": {"rope_type": "default", "rope_theta": 3.0},
    "rotary_dim": 2,
    "sliding_window": 3,
    "summary_activation": "tanh",
    "window_size": 3,
}
# Fields that depend on others, or others on them.
WITH = {
    "num_attention_heads": {
        "num_key_value_heads": 4,
        **dict.fromkeys(("hidden_size", "embedding_size", "word_embed_proj_dim"), 64),
    },
    "sliding_window": {"use_sliding_window": True, "max_window_layers": 1},
    "num_kv_heads": {"new_decoder_architecture": True},
    "num_ln_in_parallel_attn": {"new_decoder_architecture": True},
    "decoder_vocab_size": {"share_encoder_decoder_embeddings": False},
    "num_layers": {"attention_types": [[["global", "local", "global"], 1]]},
}
# What training alone knows, and ours has no word for.
NO_WORD = {*LAYERS_LEFT_OUT, *SPAN_DROPOUT}
INITIAL = ("init_std", "initializer_range")
LANGUAGE = ("ForMaskedLM", "ForCausalLM", "ForConditionalGeneration", "MTModel", "LMHeadModel", "EncoderModel")
OTHERS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice", "ForQuestionAnswering")
BASE = {f.name for f in dataclasses.fields(PreTrainedConfig)}
IDS = torch.tensor([[5, 9, 7, 8, 13, 11, 12, 3], [10, 6, 41, 17, 5, 20, 33, 3]])
TARGET = torch.tensor([[3, 11, 12, 13, 14], [3, 21, 9, 8, 30]])


def other_value(name: str, value: Any) -> Any:
    """A value of a field that neither side has by default; None where there is no telling."""
    if name in OTHER:
        return OTHER[name] if OTHER[name] != value else "relu"
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return 3e-3 if "eps" in name else 0.07
    if isinstance(value, int):
        return 4 if name.endswith("token_id") else value + 1
    return None


def config_class(known: Architecture) -> Any:
    return transformers.CONFIG_MAPPING[known.model_type]


def tiny(known: Architecture, head: str = "", **fields: Any) -> Any:
    """A configuration of theirs; `fields` that it does not have are left out."""
    names = {f.name for f in dataclasses.fields(config_class(known))}
    rates_without_a_word = dict.fromkeys(NO_WORD, 0.0)
    given = {name: v for name, v in {**TINY, **TOKENS, **rates_without_a_word, **fields}.items() if name in names}
    labels = 2 if head.endswith("ForQuestionAnswering") else 3
    return config_class(known)(**copy.deepcopy({**TOKENS, "num_labels": labels, **given}))


def is_rate(name: str) -> bool:
    return "drop" in name


def own_fields(known: Architecture) -> list[str]:
    return sorted({f.name for f in dataclasses.fields(config_class(known))} - BASE | {"tie_word_embeddings"})


def changes(known: Architecture) -> Iterator[dict[str, Any]]:
    """Other values for the fields of a configuration of theirs: all numbers together, all else one by one."""
    config = tiny(known)
    values = {name: other_value(name, getattr(config, name)) for name in own_fields(known) if not is_rate(name)}
    numbers = {n: v for n, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    together = {n: v for n, v in numbers.items() if n not in WITH}
    yield together
    for name, value in values.items():
        if value is not None and name not in together:
            yield {name: value, **WITH.get(name, {})}


def rates(known: Architecture) -> dict[str, float]:
    """A rate of its own for each dropout of a configuration; embeddings have that of the sublayers, as in ours."""
    names = [name for name in own_fields(known) if is_rate(name) and name not in NO_WORD]
    found = {name: 0.11 + 0.01 * i for i, name in enumerate(names)}
    sublayers = next((found[name] for name in ("resid_pdrop", "resid_dropout") if name in found), 0.0)
    return found | {name: sublayers for name in EMBEDDING_DROPOUT if name in found}


def make(known: Architecture, name: str, **fields: Any) -> PreTrainedModel:
    """A random model of theirs.

    Raises:
        ValueError, TypeError, NotImplementedError: transformers makes no such model.
    """
    torch.manual_seed(0)
    model = getattr(transformers, name)(tiny(known, name, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3).add_(float(parameter.ndim == 1))
    return model


def inputs_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    ids = IDS.clone()
    if "MultipleChoice" in type(model).__name__:
        return {"input_ids": ids[:, None].repeat(1, 2, 1)}
    if not model.config.is_encoder_decoder or "Encoder" in type(model).__name__:
        return {"input_ids": ids}
    if "Classification" in type(model).__name__:
        ids[:, -1] = model.config.eos_token_id
        return {"input_ids": ids}
    return {"input_ids": ids, "decoder_input_ids": TARGET, "labels": TARGET}


def output_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What comes out."""
    with torch.no_grad():
        output = model.eval()(**inputs)
    return next(output[key] for key in ("logits", "start_logits", "last_hidden_state") if key in output)


def dropouts_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor], monkeypatch: Any) -> list[float]:
    """The rates of dropout in the order in which it is applied in training."""
    applied: list[float] = []

    def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        if training and p:
            applied.append(p)
        return x

    model.set_attn_implementation("eager")
    model.config._attn_implementation = "eager"  # of Falcon, which does not let it be set
    with torch.no_grad(), monkeypatch.context() as patched:
        patched.setattr(functional, "dropout", dropout)
        patched.setattr(torch, "dropout", dropout)
        model.train()(**inputs)
    return applied


def in_order(some: list[float], all_of: list[float]) -> bool:
    """Whether some come in the order in which they are among all."""
    rest = iter(all_of)
    return all(rate in rest for rate in some)


def returned(known: Architecture, ours: PreTrainedModel) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Theirs made of ours, and made of one that remembers nothing of where it came from."""
    alone = copy.deepcopy(ours)
    alone.config.origin = None
    return triptych.to_hf(ours), triptych.to_hf(alone, known.model_type)


def tried() -> Iterator[Any]:
    for known in known_architectures():
        for fields in changes(known):
            kind = "numbers" if len(fields) > 4 else ", ".join(fields)
            yield pytest.param(known, fields, id=f"{known.model_type} {known.config_class.__name__} {kind}")


def convertible(known: Architecture, fields: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedModel] | None:
    """A model of theirs with these fields that `from_hf` takes, and ours; None where all are refused by name.

    Raises:
        AssertionError: the table has a field, but no class can be converted that has another value of it.
    """
    reasons = []
    for head in sorted(known.heads, key=lambda head: not head.endswith(LANGUAGE)):
        try:
            theirs = make(known, head, **fields)
            return theirs, triptych.from_hf(theirs)
        except CannotExpress as error:
            reasons.append(str(error))
        except (ValueError, TypeError, NotImplementedError):
            reasons.append(f"transformers makes none: {', '.join(fields)}")
    assert not fields.keys() & known.fields.keys(), reasons
    assert all(any(name in reason for name in fields) for reason in reasons), reasons
    return None


@pytest.mark.parametrize(("known", "fields"), tried())
def test_a_field_has_the_same_effect(known, fields, assert_close):
    found = convertible(known, fields)
    if found is None:
        return
    theirs, ours = found
    back, alone = returned(known, ours)
    for name in fields.keys() & theirs.config.to_dict().keys():
        assert getattr(back.config, name) == getattr(theirs.config, name), name
        if name in known.fields:
            assert getattr(alone.config, name) == getattr(theirs.config, name), name
        if name in INITIAL:
            assert ours.config.initializer_range == getattr(theirs.config, name)
    inputs = inputs_of(theirs)
    for model in (ours, alone):
        assert_close(output_of(model, inputs), output_of(theirs, inputs))


def trained() -> Iterator[Any]:
    for known in known_architectures():
        for head in known.heads:
            if head.endswith(LANGUAGE + OTHERS):
                yield pytest.param(known, head, id=head)


@pytest.mark.parametrize(("known", "head"), trained())
def test_every_dropout_has_its_rate(known, head, monkeypatch):
    """Each rate is another one, so that an exchange shows.

    Some apply a dropout in a place where ours applies none, or the other way about; the others come in one order.
    """
    theirs = make(known, head, **rates(known))
    ours = triptych.from_hf(theirs)
    inputs = inputs_of(theirs)
    expected, actual = (dropouts_of(model, inputs, monkeypatch) for model in (theirs, ours))
    assert in_order(actual, expected) or in_order(expected, actual)
    assert min(len(actual), len(expected)) >= 2
    for model in returned(known, ours):
        assert dropouts_of(model, inputs, monkeypatch) == expected


@pytest.mark.parametrize(
    "known", [pytest.param(a, id=f"{a.model_type} {a.config_class.__name__}") for a in known_architectures()]
)
def test_every_field_of_the_table_is_tried(known):
    """But for what their configuration derives from others."""
    changed = {name for fields in changes(known) for name in fields} | rates(known).keys()
    assert known.fields.keys() & set(own_fields(known)) <= changed

"""What a field accepts, at creation and at every later assignment, and how it refuses."""

import dataclasses
import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from triptych import TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from triptych.configuration import choices
from triptych.configuration.common_fields import CommonFields

CONFIGS = [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig]
WORDS = {
    "positions": choices.POSITION_CHOICES,
    "residual": choices.RESIDUAL_CHOICES,
    "norm": choices.NORM_CHOICES,
    "feed_forward": choices.FEED_FORWARD_CHOICES,
    "activation": tuple(ACT2FN),
    "sinusoid_layout": choices.SINUSOID_LAYOUT_CHOICES,
    "initializer": choices.INITIALIZER_CHOICES,
    "classifier_activation": choices.DENSE_LAYER_CHOICES,
}
SIZES = [
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "value_head_dim",
    "intermediate_size",
    "max_position_embeddings",
    "rotary_dim",
]
PROBABILITIES = ["dropout", "attention_dropout", "activation_dropout", "classifier_dropout", "label_smoothing"]
BOUNDED = {
    "type_vocab_size": -1,
    "norm_eps": 0.0,
    "embedding_scale": 0,
    "attention_scale": -0.5,
    "logit_scale": 0.0,
    "position_offset": -1,
    "relative_num_buckets": 3,
    "relative_max_distance": 1,
    "initializer_range": -0.1,
    "pad_token_id": -1,
    "bos_token_id": -1,
}


def refused(config_class, field, value):
    """The message with which a value is refused at creation; at assignment it must be the same and change nothing."""
    with pytest.raises((ValueError, TypeError, StrictDataclassError)) as at_creation:
        config_class(**{field: value})
    config = config_class()
    before = getattr(config, field)
    with pytest.raises((ValueError, TypeError, StrictDataclassError)) as at_assignment:
        setattr(config, field, value)
    assert str(at_assignment.value) == str(at_creation.value)
    assert getattr(config, field) == before
    return str(at_creation.value)


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("field", WORDS)
def test_unknown_word_lists_the_known_ones(config_class, field):
    message = refused(config_class, field, "no-such-word")
    assert field in message
    assert "'no-such-word'" in message
    listed = set(re.split(r", |: ", message.splitlines()[-1]))
    assert set(WORDS[field]) <= listed


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("field", SIZES)
@pytest.mark.parametrize("value", [0, -4])
def test_sizes_start_at_one(config_class, field, value):
    message = refused(config_class, field, value)
    assert field in message
    assert f"at least 1, got {value}" in message


@pytest.mark.parametrize("field", ["encoder_layers", "decoder_layers", "decoder_vocab_size"])
def test_sizes_of_the_encoder_decoder_start_at_one(field):
    assert "at least 1, got 0" in refused(TriptychConfig, field, 0)


@pytest.mark.parametrize("config_class", [TriptychEncoderConfig, TriptychDecoderConfig])
def test_number_of_layers_starts_at_one(config_class):
    assert "at least 1, got 0" in refused(config_class, "num_hidden_layers", 0)


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("field", PROBABILITIES)
@pytest.mark.parametrize(("value", "bound"), [(1.0, "less than 1"), (1, "less than 1"), (-0.1, "at least 0")])
def test_probabilities_lie_below_one(config_class, field, value, bound):
    message = refused(config_class, field, value)
    assert field in message
    assert f"{bound}, got {value}" in message


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("field", PROBABILITIES)
def test_probability_zero_is_allowed_as_a_whole_number(config_class, field):
    assert getattr(config_class(**{field: 0}), field) == 0


@pytest.mark.parametrize("field", [*PROBABILITIES, "norm_eps", "logit_scale", "initializer_range"])
def test_not_a_number_is_refused(field):
    assert field in refused(TriptychConfig, field, float("nan"))


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize(("field", "value"), BOUNDED.items())
def test_bounded_numbers(config_class, field, value):
    message = refused(config_class, field, value)
    assert field in message
    assert f"got {value}" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 512.5),
        ("hidden_size", "512"),
        ("vocab_size", True),
        ("vocab_size", None),
        ("norm_bias", "yes"),
        ("dropout", "0.1"),
        ("positions", 3),
        ("rope_parameters", [1]),
    ],
)
def test_wrong_type_names_field_and_value(field, value):
    message = refused(TriptychConfig, field, value)
    assert field in message
    assert str(value) in message


@pytest.mark.parametrize("config_class", CONFIGS)
def test_every_field_of_ours_has_a_sentence_of_help(config_class):
    inherited_from_transformers = {f.name for f in dataclasses.fields(PreTrainedConfig)}
    declared = {name for cls in (CommonFields, config_class) for name in vars(cls).get("__annotations__", {})}
    for field in dataclasses.fields(config_class):
        if field.name in declared and field.name not in inherited_from_transformers:
            sentence = field.metadata.get("help", "")
            assert sentence.endswith("."), f"{field.name}: {sentence!r}"
            assert len(sentence.split()) >= 4, f"{field.name}: {sentence!r}"


@pytest.mark.parametrize("config_class", CONFIGS)
def test_another_default_keeps_help_and_check(config_class):
    inherited = {f.name: f for f in dataclasses.fields(CommonFields)}
    for field in dataclasses.fields(config_class):
        if "help" in inherited.get(field.name, field).metadata:
            assert "help" in field.metadata, field.name
        if "validator" in inherited.get(field.name, field).metadata:
            assert "validator" in field.metadata, field.name


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("field", SIZES)
def test_sizes_end_where_an_index_ends(config_class, field):
    assert "at most 2147483647" in refused(config_class, field, 2**31)


@pytest.mark.parametrize(
    ("config_class", "field"),
    [
        (TriptychConfig, "encoder_layers"),
        (TriptychConfig, "decoder_layers"),
        (TriptychConfig, "num_hidden_layers"),
        (TriptychEncoderConfig, "num_hidden_layers"),
        (TriptychDecoderConfig, "num_hidden_layers"),
    ],
)
@pytest.mark.parametrize("value", [10_001, 2**63])
def test_nobody_has_so_many_layers(config_class, field, value):
    message = refused(config_class, field, value)
    assert field in message
    assert f"at most 10000, got {value}" in message


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize("value", [-1, 2.5, 10**30])
def test_the_number_of_labels_is_checked_before_they_are_named(config_class, value):
    message = refused(config_class, "num_labels", value)
    assert "num_labels" in message
    assert f"got {value}" in message


@pytest.mark.parametrize(
    ("config_class", "alias", "value"),
    [
        (TriptychConfig, "d_model", 0),
        (TriptychConfig, "d_model", 2**40),
        (TriptychConfig, "num_hidden_layers", -2),
        (TriptychEncoderConfig, "d_model", -8),
        (TriptychDecoderConfig, "d_model", 0),
    ],
)
def test_another_name_of_a_field_is_checked_alike(config_class, alias, value):
    message = refused(config_class, alias, value)
    assert alias in message
    assert f"got {value}" in message


@pytest.mark.parametrize("config_class", CONFIGS)
def test_what_is_derived_from_a_field_follows_its_other_name(config_class):
    assert config_class(d_model=96, num_attention_heads=4).head_dim == 24


@pytest.mark.parametrize("field", ["position_offset", "relative_max_distance", "type_vocab_size"])
def test_whole_numbers_end_where_an_index_ends(field):
    assert "at most 2147483647" in refused(TriptychConfig, field, 10**30)


@pytest.mark.parametrize("field", ["embedding_scale", "attention_scale", "logit_scale", "norm_eps"])
def test_infinity_is_refused(field):
    assert "finite" in refused(TriptychConfig, field, float("inf"))


@pytest.mark.parametrize("theta", [0, -1.0, float("inf"), float("nan"), "10000", None])
def test_the_base_of_rotary_positions(theta):
    with pytest.raises((ValueError, StrictDataclassError), match="rope_theta"):
        TriptychDecoderConfig(positions="rotary", rope_parameters={"rope_type": "default", "rope_theta": theta})

"""Relations between fields, derived values and the way to disk and back."""

import json
import math

import pytest
from huggingface_hub.errors import StrictDataclassError

from triptych import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychDecoderForCausalLM,
    TriptychEncoderConfig,
    TriptychForConditionalGeneration,
)
from triptych.configuration import choices
from triptych.modeling import feed_forward, initialization, norms, positions, residual

CONFIGS = [TriptychConfig, TriptychEncoderConfig, TriptychDecoderConfig]
REFUSALS = (ValueError, StrictDataclassError)


def relation_error(**fields) -> str:
    with pytest.raises(REFUSALS) as error:
        TriptychConfig(**fields)
    return str(error.value)


def mentions(message: str, *parts: str) -> bool:
    return all(part in message for part in parts)


def test_head_width_follows_from_size_and_heads():
    config = TriptychConfig(hidden_size=48, num_attention_heads=4)
    assert (config.head_dim, config.value_head_dim, config.num_key_value_heads) == (12, 12, 4)
    assert TriptychConfig(head_dim=16).value_head_dim == 16
    assert TriptychConfig(head_dim=16, value_head_dim=64).value_head_dim == 64


def test_heads_must_divide_the_size_unless_their_width_is_given():
    message = relation_error(hidden_size=10, num_attention_heads=4)
    assert mentions(message, "hidden_size=10", "num_attention_heads=4", "head_dim")
    assert TriptychConfig(hidden_size=10, num_attention_heads=4, head_dim=3).head_dim == 3


def test_key_value_heads_must_divide_the_heads():
    message = relation_error(num_attention_heads=8, num_key_value_heads=3)
    assert mentions(message, "num_attention_heads=8", "num_key_value_heads=3", "divisor")


def test_sinusoids_come_in_pairs():
    assert mentions(relation_error(hidden_size=9, head_dim=4), "sinusoidal", "even hidden_size", "9")
    assert TriptychConfig(hidden_size=9, head_dim=4, positions="none").hidden_size == 9


@pytest.mark.parametrize(("rotary_dim", "head_dim"), [(3, 8), (10, 8), (None, 7)])
def test_rotary_turns_pairs_within_a_head(rotary_dim, head_dim):
    message = relation_error(positions="rotary", head_dim=head_dim, rotary_dim=rotary_dim)
    assert mentions(message, f"rotary_dim={rotary_dim or head_dim}", f"head_dim={head_dim}", "even")


@pytest.mark.parametrize("rope_type", ["no-such-scaling", "axial"])
def test_unknown_rope_type_lists_the_known_ones(rope_type):
    message = relation_error(positions="rotary", rope_parameters={"rope_type": rope_type})
    assert mentions(message, "rope_type", rope_type, "default", "linear", "yarn")


def test_relative_distance_must_exceed_the_exact_buckets():
    message = relation_error(positions="relative", relative_num_buckets=32, relative_max_distance=16)
    assert mentions(message, "relative_max_distance=16", "16", "relative_num_buckets")
    assert TriptychConfig(relative_num_buckets=32, relative_max_distance=16).positions == "sinusoidal"


@pytest.mark.parametrize("name", ["pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"])
def test_special_tokens_lie_in_the_vocabulary(name):
    message = relation_error(vocab_size=50, **{name: 50})
    assert mentions(message, f"{name}=50", "vocabulary of 50", "enlarge the vocabulary")
    assert getattr(TriptychConfig(vocab_size=50, **{name: 49}), name) == 49
    assert getattr(TriptychConfig(vocab_size=50, **{name: None}), name) is None


@pytest.mark.parametrize("config_class", CONFIGS)
def test_each_of_several_end_tokens_lies_in_the_vocabulary(config_class):
    with pytest.raises(REFUSALS, match="eos_token_id=-2 lies outside"):
        config_class(eos_token_id=[3, -2])
    assert config_class(eos_token_id=[3, 4]).eos_token_id == [3, 4]


def test_special_tokens_are_checked_in_the_vocabulary_they_belong_to():
    separate = {"vocab_size": 50, "decoder_vocab_size": 20, "share_encoder_decoder_embeddings": False}
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        assert mentions(relation_error(**separate, **{name: 30}), f"{name}=30", "vocabulary of 20")
    larger = {**separate, "decoder_vocab_size": 80}
    assert TriptychConfig(**larger, decoder_start_token_id=70).decoder_start_token_id == 70
    assert mentions(relation_error(**larger, pad_token_id=70), "pad_token_id=70", "vocabulary of 50")


def test_one_matrix_has_one_number_of_rows():
    message = relation_error(vocab_size=50, decoder_vocab_size=60)
    assert mentions(message, "decoder_vocab_size=60", "vocab_size=50", "share_encoder_decoder_embeddings=False")
    assert TriptychConfig(vocab_size=50, decoder_vocab_size=50).target_vocab_size == 50


def test_relations_are_checked_again_by_a_model_and_by_saving(tmp_path):
    config = TriptychConfig.from_preset("tiny")
    config.num_key_value_heads = 3  # each value alone is fine
    with pytest.raises(REFUSALS, match="num_key_value_heads=3"):
        TriptychForConditionalGeneration(config)
    with pytest.raises(REFUSALS, match="num_key_value_heads=3"):
        config.save_pretrained(tmp_path)


def test_factors():
    config = TriptychConfig(hidden_size=64, head_dim=16)
    assert config.embedding_factor == math.sqrt(64)
    assert config.attention_factor == 0.25
    assert TriptychConfig(embedding_scale=3, attention_scale=1).embedding_factor == 3
    assert TriptychConfig(embedding_scale=3, attention_scale=1).attention_factor == 1


@pytest.mark.parametrize("config_class", CONFIGS)
def test_width_is_also_readable_as_d_model(config_class):
    config = config_class()
    assert config.d_model == config.hidden_size
    assert config_class(d_model=96, num_attention_heads=4).hidden_size == 96


def test_rotary_parameters_are_completed_and_others_have_none():
    config = TriptychConfig(positions="rotary", head_dim=8, rotary_dim=4)
    assert config.rope_parameters["rope_type"] == "default"
    assert config.rope_parameters["rope_theta"] == 10000.0
    assert config.rope_parameters["partial_rotary_factor"] == 0.5
    assert TriptychConfig().rope_parameters is None


def test_rotary_parameters_of_the_caller_are_not_written_to():
    given = {"rope_theta": 500.0}
    assert TriptychConfig(positions="rotary", rope_parameters=given).rope_parameters["rope_theta"] == 500.0
    assert given == {"rope_theta": 500.0}


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"positions": "rotary", "rotary_dim": 8, "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
        {
            "positions": "relative",
            "norm": "rms",
            "feed_forward": "gated",
            "activation": "silu",
            "residual": "parallel",
        },
        {
            "num_key_value_heads": 1,
            "head_dim": 16,
            "value_head_dim": 24,
            "attention_scale": 1.0,
            "eos_token_id": [1, 2],
        },
        {"embedding_scale": None, "dropout": 0, "label_smoothing": 0.25, "pad_token_id": None, "dtype": "bfloat16"},
    ],
)
def test_round_trip_through_json(config_class, fields, tmp_path):
    config = config_class(**fields)
    config.save_pretrained(tmp_path)
    loaded = config_class.from_pretrained(tmp_path)
    assert loaded.to_dict() == {**config.to_dict(), "transformers_version": loaded.transformers_version}
    assert config_class.from_dict(json.loads(config.to_json_string(use_diff=False))).to_dict() == config.to_dict()
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/config.json").read_bytes() == (tmp_path / "config.json").read_bytes()


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (choices.POSITION_CHOICES, positions.POSITIONS),
        (choices.SINUSOID_LAYOUT_CHOICES, positions.SINUSOIDS),
        (choices.RESIDUAL_CHOICES, residual.RESIDUALS),
        (choices.NORM_CHOICES, norms.NORMS),
        (choices.FEED_FORWARD_CHOICES, feed_forward.FEED_FORWARDS),
        (choices.INITIALIZER_CHOICES, initialization.INITIALIZERS),
    ],
)
def test_words_of_the_configuration_are_keys_of_the_model(names, table):
    assert set(names) == set(table)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "tanh", "relu2", "quick_gelu"])
def test_activations_build(activation):
    config = TriptychDecoderConfig.from_preset("tiny-decoder", activation=activation, feed_forward="gated")
    assert TriptychDecoderForCausalLM(config).config.activation == activation


@pytest.mark.parametrize("config_class", CONFIGS)
@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        (
            {"hidden_size": 10**9, "num_attention_heads": 8, "intermediate_size": 8, "vocab_size": 8},
            ("hidden_size", "head_dim"),
        ),
        ({"hidden_size": 10**6, "head_dim": 8, "vocab_size": 2 * 10**6}, ("vocab_size", "hidden_size")),
        ({"hidden_size": 10**6, "head_dim": 8, "intermediate_size": 2 * 10**6}, ("hidden_size", "intermediate_size")),
        (
            {"hidden_size": 10**6, "head_dim": 8, "max_position_embeddings": 2 * 10**6, "positions": "learned"},
            ("max_position_embeddings", "hidden_size"),
        ),
    ],
)
def test_a_matrix_that_no_memory_holds_is_refused(config_class, sizes, names):
    with pytest.raises(REFUSALS) as error:
        config_class(**sizes)
    assert mentions(str(error.value), *(f"{name}=" for name in names), "matrix")


def test_only_learned_positions_have_a_matrix():
    assert (
        TriptychConfig(max_position_embeddings=2**31 - 1, positions="sinusoidal").max_position_embeddings == 2**31 - 1
    )
    assert TriptychConfig(vocab_size=2**31 - 1, hidden_size=512).vocab_size == 2**31 - 1  # exactly below the limit

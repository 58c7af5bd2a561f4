"""A decoder that differs from its encoder has a configuration of its own, an ordinary one, made with the model."""

import copy
import json
import pickle

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from triptych import TriptychConfig, TriptychForConditionalGeneration, TriptychModel
from triptych.configuration.plans import HEADWISE_TABLE


def make(**overrides):
    return TriptychConfig.from_preset("tiny", decoder_overrides=overrides)


def test_without_any_both_sides_are_one_configuration():
    for none in (None, {}):
        model = TriptychModel(TriptychConfig.from_preset("tiny", decoder_overrides=none))
        assert model.decoder.config is model.encoder.config is model.config


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"hidden_size": 16}, "'hidden_size' is common to both sides"),
        ({"vocab_size": 16}, "'vocab_size' is common to both sides"),
        ({"no_such": 1}, "'no_such' is no field of a decoder"),
        ({"encoder_layers": 1}, "'encoder_layers' is no field of a decoder"),
        ({"id2label": {}}, "'id2label' is no field of a decoder"),
        ({"positions": "no-such"}, "unknown choice 'no-such'"),
        ({"num_attention_heads": 7}, "not a multiple of num_attention_heads=7"),
        ({"num_attention_heads": "2"}, "expected int"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3; choose a divisor"),
        ({"dropout": 1.5}, "less than 1, got 1.5"),
        ({"positions": "rotary", "rotary_dim": 3}, "rotary_dim=3 must be even"),
    ],
)
def test_what_makes_no_decoder_is_refused(overrides, complaint):
    with pytest.raises(StrictDataclassError, match=r"decoder_overrides(.|\n)*" + complaint):
        make(**overrides)
    config = make()
    config.decoder_overrides = overrides
    with pytest.raises(StrictDataclassError, match=r"decoder_overrides(.|\n)*" + complaint):
        TriptychModel(config)


def test_survives_json(tmp_path):
    config = make(residual="pre", attention_pattern=["full", 4], num_attention_heads=2)
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["decoder_overrides"] == config.decoder_overrides
    loaded = TriptychConfig.from_pretrained(tmp_path)
    config.name_or_path = loaded.name_or_path
    assert loaded.to_dict() == config.to_dict()
    assert loaded.decoder_config().to_dict() == config.decoder_config().to_dict()
    assert loaded.decoder_config().attention_pattern == ["full", 4]


def test_what_is_derived_is_derived_anew():
    config = make(num_attention_heads=2)
    side = config.decoder_config()
    assert config.head_dim != side.head_dim == side.value_head_dim == config.hidden_size // 2
    assert side.num_key_value_heads == 2
    assert make(num_attention_heads=2, head_dim=6).decoder_config().head_dim == 6
    rotary = TriptychConfig.from_preset(
        "tiny", positions="rotary", rotary_dim=4, decoder_overrides={"rotary_dim": None}
    )
    assert "partial_rotary_factor" not in rotary.decoder_config().rope_parameters
    assert rotary.rope_parameters["partial_rotary_factor"] == 0.5
    assert make(positions="rotary").decoder_config().rope_parameters["rope_theta"] == 10000.0


def test_the_decoder_has_an_ordinary_copy():
    config = TriptychConfig.from_preset("tiny", decoder_layers=3, decoder_overrides={"residual": "pre"})
    model = TriptychForConditionalGeneration(config)
    side = model.model.decoder.config
    assert type(side) is TriptychConfig
    assert side is model.model.decoder.config is model.model.decoder.layers[0].self_attention.config
    assert (side.residual, config.residual, side.decoder_overrides) == ("pre", "post", None)
    assert (side.num_hidden_layers, config.num_hidden_layers) == (3, 2)
    assert (side.dtype, side._attn_implementation) == (config.dtype, config._attn_implementation)
    config.attention_dropout = 0.5  # as with the parts of transformers' composite models
    assert side.attention_dropout == 0.0
    side.residual, side.dropout = "parallel", 0.25
    assert (config.residual, config.dropout) == ("post", 0.1)
    half = config.get_text_config(decoder=True)
    assert half is not side
    assert (half.num_hidden_layers, half.residual, half.attention_dropout) == (3, "pre", 0.5)


def test_a_loaded_and_a_copied_model_have_their_copies(tmp_path):
    TriptychForConditionalGeneration(make(residual="pre")).save_pretrained(tmp_path)
    options = {"dtype": torch.bfloat16, "attn_implementation": "eager", "output_hidden_states": True}
    model = TriptychForConditionalGeneration.from_pretrained(tmp_path, **options)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        whole, side = one.config, one.model.decoder.config
        assert (side.residual, side.dtype, side._attn_implementation) == ("pre", torch.bfloat16, "eager")
        assert (whole.residual, whole.dtype, whole._attn_implementation) == ("post", torch.bfloat16, "eager")
        assert one.model.decoder.layers[0].self_attention.config is side
        one.set_attn_implementation("sdpa")
        assert side._attn_implementation == whole._attn_implementation == "sdpa"


SOURCE, TARGET = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[2, 9, 10]])


def call(model, **options):
    with torch.no_grad():
        return model(input_ids=SOURCE, decoder_input_ids=TARGET, **options)


@pytest.mark.parametrize("overrides", [None, {"residual": "pre"}])
def test_what_the_whole_says_of_a_call_holds_for_both_sides(overrides):
    model = TriptychForConditionalGeneration(TriptychConfig.from_preset("tiny", decoder_overrides=overrides)).eval()
    assert call(model).past_key_values is not None
    model.config.use_cache = False
    assert call(model).past_key_values is None
    assert call(model, use_cache=True).past_key_values is not None
    assert call(model).decoder_hidden_states is None
    model.config.output_hidden_states = True
    found = call(model)
    assert [len(states) for states in (found.encoder_hidden_states, found.decoder_hidden_states)] == [3, 3]
    assert call(model, output_hidden_states=False).decoder_hidden_states is None
    model.config.output_hidden_states = False
    model.set_attn_implementation("eager")
    model.config.output_attentions = True
    found = call(model)
    for weights in (found.encoder_attentions, found.decoder_attentions, found.cross_attentions):
        assert [w.shape[1] for w in weights] == [4, 4]
    model.config.output_attentions = False
    assert call(model).decoder_attentions is None


@pytest.mark.parametrize("change", ["set_attn_implementation", "_attn_implementation"])
def test_one_attention_backend_attends_on_both_sides(change):
    model, ran = TriptychForConditionalGeneration(make(residual="pre")).eval(), []

    def kernel(module, query, key, value, attention_mask, **kwargs):
        ran.append(module)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)

    ALL_ATTENTION_FUNCTIONS["of_this_test"] = kernel
    ALL_MASK_ATTENTION_FUNCTIONS["of_this_test"] = sdpa_mask
    try:
        expected = call(model).logits
        if change == "set_attn_implementation":
            model.set_attn_implementation("of_this_test")
        else:
            model.config._attn_implementation = "of_this_test"
        assert torch.equal(call(model).logits, expected)
        assert len(ran) == 2 + 2 * 2  # each layer of the encoder once, each layer of the decoder twice
    finally:
        del ALL_ATTENTION_FUNCTIONS._local_mapping["of_this_test"]
        del ALL_MASK_ATTENTION_FUNCTIONS._local_mapping["of_this_test"]


@pytest.mark.parametrize("overrides", [None, {"residual": "pre"}])
def test_generation_copies_no_configuration_in_a_step(overrides, monkeypatch):
    """A static cache asks for the masks of each step, and so for the decoder's configuration."""
    model = TriptychForConditionalGeneration(TriptychConfig.from_preset("tiny", decoder_overrides=overrides)).eval()
    copies = []
    original = TriptychConfig.decoder_config
    monkeypatch.setattr(TriptychConfig, "decoder_config", lambda self: copies.append(1) or original(self))
    monkeypatch.setattr(TriptychConfig, "__deepcopy__", lambda self, memo: copied(self, memo), raising=False)

    def copied(config, memo):
        copies.append(1)
        new = object.__new__(type(config))
        new.__dict__.update(copy.deepcopy(config.__dict__, memo))
        return new

    counts = []
    for steps in (2, 12):
        copies.clear()
        mask = torch.ones(1, 1, dtype=torch.long)
        options = {"cache_implementation": "static", "disable_compile": True, "decoder_attention_mask": mask}
        model.generate(SOURCE, min_new_tokens=steps, max_new_tokens=steps, **options)
        counts.append(len(copies))
    assert counts[0] == counts[1] <= 12


def test_a_backend_suits_both_sides():
    model = TriptychModel(make(positions="relative"))
    before = model.config._attn_implementation
    with pytest.raises(ValueError, match="cannot add the bias of positions='relative'"):
        model.set_attn_implementation("flash_attention_2")
    assert model.config._attn_implementation == before == model.decoder.config._attn_implementation


def test_plans_of_parallelism_follow():
    config = make(positions="relative", residual="pre", feed_forward="gated")
    plan = config.base_model_tp_plan
    assert plan["decoder.positions.table"] == HEADWISE_TABLE
    assert "encoder.positions.table" not in plan
    assert "decoder.layers.*.feed_forward.gate_proj" in plan
    assert "encoder.layers.*.feed_forward.gate_proj" not in plan
    assert "decoder.norm" in config.base_model_fsdp_plan
    assert "encoder.norm" not in config.base_model_fsdp_plan


def test_length_beyond_source_ends_with_the_decoder():
    torch.manual_seed(0)
    model = TriptychForConditionalGeneration(make(positions="learned", max_position_embeddings=6)).eval()
    outputs = model.generate(torch.tensor([[5, 6, 7, 8, 9]]), max_length_beyond_source=50, eos_token_id=None)
    assert outputs.shape == (1, 7)

"""New models from trained ones: they compute what those computed, as far as they have their weights."""

import copy
import json
import pickle

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from triptych import (
    TriptychConfig,
    TriptychDecoderConfig,
    TriptychDecoderForSequenceClassification,
    TriptychEncoderConfig,
    TriptychEncoderForSequenceClassification,
    TriptychForConditionalGeneration,
    TriptychForSequenceClassification,
    TriptychModel,
    from_hf,
    keep_layers,
    replace_vocabulary,
)
from triptych.modeling.parallelism import HEADWISE_TABLE

WIDTH = {"hidden_size": 32, "num_attention_heads": 4}
# Each as unlike the other side as a pair of stacks can be.
PAIRS = {
    "bert and gpt2": ({}, {}),
    "one form": ({"residual": "pre", "norm_eps": 1e-5}, {"residual": "pre", "activation": "gelu"}),
    "rotary and relative": (
        {"positions": "rotary", "norm": "rms"},
        {"positions": "relative", "relative_num_buckets": 8, "relative_max_distance": 12, "num_attention_heads": 2},
    ),
    "other heads of one width": (
        {"head_dim": 16, "num_key_value_heads": 2},
        {"head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "value_head_dim": 4},
    ),
    "rotary of two kinds": (
        {"positions": "rotary", "rotary_dim": 4},
        {"positions": "rotary", "rope_parameters": {"rope_theta": 100.0}, "feed_forward": "gated"},
    ),
    "a band on one side": ({"attention_pattern": [2, "full"]}, {"positions": "sinusoidal"}),
    "a band on the other": ({"positions": "none"}, {"attention_pattern": ["full", 2], "position_offset": 2}),
    "untied, biased, scaled": (
        {},
        {"tie_word_embeddings": False, "head_bias": True, "logit_scale": 0.5, "embedding_scale": 3.0},
    ),
}


@pytest.fixture(params=PAIRS)
def pair(request, make_model):
    """An encoder and a decoder with a head, all parameters random; sizes differ wherever they may."""
    encoder, decoder = PAIRS[request.param]
    return (
        make_model("encoder", **{**WIDTH, "vocab_size": 83, "max_position_embeddings": 24, **encoder}),
        make_model("decoder", seed=1, **{**WIDTH, "vocab_size": 97, "intermediate_size": 40, **decoder}),
    )


@pytest.fixture
def public():
    """A tiny BERT and a tiny GPT-2 of transformers."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    bert = BertModel(BertConfig(vocab_size=83, max_position_embeddings=24, **sizes))
    options = {"n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 40, "vocab_size": 97}
    gpt2 = GPT2LMHeadModel(GPT2Config(bos_token_id=2, eos_token_id=2, **options))
    for parameter in (*bert.parameters(), *gpt2.parameters()):
        nn.init.normal_(parameter, std=0.3)
    return bert.eval(), gpt2.eval()


def silenced(model):
    """The model with cross-attention that adds nothing."""
    for layer in model.base_model.decoder.layers:
        nn.init.zeros_(layer.cross_attention.o_proj.weight)
        if layer.cross_attention.o_proj.bias is not None:
            nn.init.zeros_(layer.cross_attention.o_proj.bias)
    return model


def loud(model):
    """The model with cross-attention that counts."""
    for layer in model.base_model.decoder.layers:
        for parameter in layer.cross_attention.parameters():
            nn.init.normal_(parameter, std=0.5)
    return model


def masked(rows, length, seed=0, vocab_size=83):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, -2:] = 0
    return torch.randint(5, vocab_size, (rows, length), generator=generator), mask


class TestTwoModels:
    def test_each_side_computes_what_it_did(self, pair):
        encoder, decoder = pair
        model = silenced(TriptychForConditionalGeneration.from_encoder_decoder(encoder, decoder))
        (ids, mask), (target, target_mask) = masked(3, 7), masked(3, 6, seed=1)
        segments = torch.arange(7).expand(3, 7) // 4
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
        out = model(**inputs, decoder_input_ids=target, decoder_attention_mask=target_mask, output_hidden_states=True)
        alone = encoder.model(**inputs, output_hidden_states=True)
        for found, expected in zip(out.encoder_hidden_states, alone.hidden_states, strict=True):
            assert torch.equal(found, expected)
        alone = decoder(target, target_mask, output_hidden_states=True)
        for found, expected in zip(out.decoder_hidden_states, alone.hidden_states, strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(out.logits, alone.logits)

    def test_cross_attention_is_new_and_read(self, pair):
        model = TriptychForConditionalGeneration.from_encoder_decoder(*pair)
        target = masked(2, 6, seed=1)[0]
        first, second = (model(input_ids=masked(2, 7, seed=s)[0], decoder_input_ids=target).logits for s in (2, 3))
        assert not torch.equal(first, second)
        given = model.model.decoder.layers[0].self_attention.q_proj.weight.std()
        new = model.model.decoder.layers[0].cross_attention.q_proj.weight.std()
        assert given > 0.2 > new  # as the configuration says, which is narrower than these models are

    def test_saved_and_loaded(self, pair, tmp_path):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        model.save_pretrained(tmp_path)
        loaded, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values())
        assert loaded.config.to_dict() == {**model.config.to_dict(), "_name_or_path": str(tmp_path)}
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor), name
        ids, target = masked(2, 7)[0], masked(2, 6, seed=1)[0]
        for copied in (loaded, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(
                copied(input_ids=ids, decoder_input_ids=target).logits,
                model(input_ids=ids, decoder_input_ids=target).logits,
            )
            assert copied.model.decoder.config.max_position_embeddings == pair[1].config.max_position_embeddings

    def test_generates_the_same_with_and_without_cache(self, pair):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        ids, mask = masked(3, 7)
        inputs = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 9, "eos_token_id": None}
        for beams in (1, 3):
            with_cache, without = (
                model.generate(**inputs, num_beams=beams, use_cache=use_cache) for use_cache in (True, False)
            )
            assert torch.equal(with_cache, without)
            assert with_cache.shape[1] == 10
        static = model.generate(**inputs, cache_implementation="static")
        assert torch.equal(static, model.generate(**inputs))

    def test_left_padding_changes_nothing(self, pair, close):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        ids, target = masked(1, 5)[0], masked(1, 4, seed=1)[0]
        pad = torch.zeros(1, 3, dtype=torch.long)
        mask, target_mask = (torch.cat([pad, torch.ones_like(row)], dim=1) for row in (ids, target))
        padded = model(
            input_ids=torch.cat([pad, ids], dim=1),
            attention_mask=mask,
            decoder_input_ids=torch.cat([pad, target], dim=1),
            decoder_attention_mask=target_mask,
        )
        close(padded.logits[:, 3:], model(input_ids=ids, decoder_input_ids=target).logits)

    def test_backends_agree_and_reach_both_sides(self, pair, close):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        (ids, mask), target = masked(2, 7), masked(2, 6, seed=1)[0]
        inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": target}
        logits = {}
        for backend in ("sdpa", "eager"):
            model.set_attn_implementation(backend)
            for stack in (model.model.encoder, model.model.decoder):
                assert stack.config._attn_implementation == backend
                assert stack.layers[0].self_attention.config._attn_implementation == backend
            logits[backend] = model(**inputs).logits
        close(logits["eager"], logits["sdpa"])
        out = model(**inputs, output_attentions=True)
        heads = [c.config.num_attention_heads for c in pair]
        assert out.encoder_attentions[0].shape == (2, heads[0], 7, 7)
        assert out.decoder_attentions[0].shape == (2, heads[1], 6, 6)
        assert out.cross_attentions[0].shape == (2, heads[1], 6, 7)

    def test_learns_everywhere(self, pair, gradients):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair, pad_token_id=0)).train()
        (ids, mask), labels = masked(2, 7), masked(2, 6, seed=1)[0]
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        before = model(input_ids=ids, attention_mask=mask, labels=labels)
        found = gradients(model, before.loss)
        assert found.keys() == {name for name, _ in model.named_parameters()}
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        assert model(input_ids=ids, attention_mask=mask, labels=labels).loss < before.loss

    @pytest.mark.parametrize("pair", ["rotary and relative"], indirect=True)
    def test_compiles_whole(self, pair, close):
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        inputs = {"input_ids": masked(2, 7)[0], "decoder_input_ids": masked(2, 6, seed=1)[0]}
        torch._dynamo.reset()
        with torch.no_grad():
            close(torch.compile(model, fullgraph=True, backend="eager")(**inputs).logits, model(**inputs).logits)
        torch._dynamo.reset()

    def test_of_public_models(self, public, close):
        bert, gpt2 = public
        model = TriptychForConditionalGeneration.from_encoder_decoder(from_hf(bert), from_hf(gpt2))
        own = model.config.decoder_overrides
        assert {"residual", "activation", "norm_eps", "max_position_embeddings", "embedding_norm"} <= own.keys()
        assert (own["activation"], own["head_dim"], own["intermediate_size"]) == ("gelu_new", 16, 128)
        assert not {"hidden_size", "vocab_size", "attention_bias"} & own.keys()
        assert (model.config.vocab_size, model.config.decoder_vocab_size) == (83, 97)
        assert (model.config.decoder_start_token_id, model.config.eos_token_id) == (2, 2)
        (ids, mask), target = masked(2, 7), masked(2, 6, seed=1)[0]
        out = silenced(model)(input_ids=ids, attention_mask=mask, decoder_input_ids=target)
        tokens = mask.bool()  # at padding, BERT counts positions on
        close(out.encoder_last_hidden_state[tokens], bert(ids, mask).last_hidden_state[tokens])
        close(out.logits, gpt2(target).logits)

    def test_tied_where_the_decoder_is(self, make_model):
        for tied in (True, False):
            decoder = make_model("decoder", hidden_size=32, tie_word_embeddings=tied)
            model = TriptychForConditionalGeneration.from_encoder_decoder(
                make_model("encoder", hidden_size=32), decoder
            )
            assert (model.lm_head.weight is model.model.decoder_embed_tokens.weight) == tied
            assert torch.equal(model.lm_head.weight, decoder.lm_head.weight)

    def test_bodies_other_heads_and_directories(self, make_model, tmp_path):
        encoder = make_model("encoder", hidden_size=32)
        decoder = make_model("decoder", hidden_size=32)
        encoder.save_pretrained(tmp_path / "encoder")
        decoder.save_pretrained(tmp_path / "decoder")
        expected = TriptychModel.from_encoder_decoder(encoder, decoder).state_dict()
        known = {name for name in expected if "cross_attention" not in name}
        classifiers = (
            TriptychEncoderForSequenceClassification(encoder.config),
            TriptychDecoderForSequenceClassification(decoder.config),
        )
        for classifier, source in zip(classifiers, (encoder, decoder), strict=True):
            classifier.model.load_state_dict(source.model.state_dict(), strict=False)
        for pair in (
            (encoder.model, decoder.model),
            classifiers,
            (str(tmp_path / "encoder"), tmp_path / "decoder"),
        ):
            found = TriptychModel.from_encoder_decoder(*pair).state_dict()
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in known)
        head = TriptychForConditionalGeneration.from_encoder_decoder(encoder.model, tmp_path / "decoder")
        assert torch.equal(head.lm_head.weight, decoder.lm_head.weight)

    def test_given_models_stay_as_they_are(self, pair):
        before = [(copy.deepcopy(m.state_dict()), m.config.to_dict()) for m in pair]
        model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        for given, (state, config) in zip(pair, before, strict=True):
            assert given.config.to_dict() == config
            assert all(torch.equal(state[name], tensor) for name, tensor in given.state_dict().items())

    def test_precision_holds_both(self, make_model):
        encoder, decoder = (make_model(family, hidden_size=32) for family in ("encoder", "decoder"))
        assert TriptychModel.from_encoder_decoder(encoder.bfloat16(), decoder).dtype == torch.float32
        assert TriptychModel.from_encoder_decoder(encoder, decoder.bfloat16()).dtype == torch.bfloat16

    def test_tokens_and_options_of_generation(self, make_model):
        encoder = make_model("encoder", hidden_size=32, vocab_size=60, pad_token_id=1)
        decoder = make_model("decoder", hidden_size=32, vocab_size=97, bos_token_id=90, eos_token_id=91)
        decoder.config.pad_token_id = None
        decoder.generation_config.num_beams = 4
        model = TriptychForConditionalGeneration.from_encoder_decoder(encoder, decoder)
        config, options = model.config, model.generation_config
        assert (config.pad_token_id, config.decoder_start_token_id, config.eos_token_id) == (1, 90, 91)
        assert (options.pad_token_id, options.decoder_start_token_id, options.eos_token_id) == (91, 90, 91)
        assert options.num_beams == 4
        assert decoder.generation_config.decoder_start_token_id is None
        chosen = TriptychForConditionalGeneration.from_encoder_decoder(
            encoder, decoder, decoder_start_token_id=7, dropout=0.25
        )
        assert (chosen.config.decoder_start_token_id, chosen.model.encoder.dropout.p) == (7, 0.25)

    def test_what_does_not_fit_is_named(self, make_model, public, tmp_path):
        encoder, decoder = make_model("encoder", hidden_size=32), make_model("decoder", hidden_size=32)
        join = TriptychModel.from_encoder_decoder
        with pytest.raises(ValueError, match=r"encoder has hidden_size=48, the decoder 32"):
            join(make_model("encoder", hidden_size=48, num_attention_heads=4), decoder)
        with pytest.raises(ValueError, match=r"decoder has type_vocab_size=2"):
            join(encoder, make_model("decoder", hidden_size=32, type_vocab_size=2))
        with pytest.raises(ValueError, match=r"TriptychEncoderConfig.*TriptychDecoderForCausalLM"):
            join(decoder, encoder)
        with pytest.raises(ValueError, match=r"TriptychDecoderConfig.*GPT2LMHeadModel.*from_hf"):
            join(encoder, public[1])
        public[0].save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"TriptychEncoderConfig.*from_hf"):
            join(tmp_path, decoder)
        with pytest.raises(ValueError, match="both need one vocabulary"):
            TriptychForSequenceClassification.from_encoder_decoder(encoder, decoder)
        untied = make_model("decoder", hidden_size=32, tie_word_embeddings=False)
        with pytest.raises(ValueError, match="lose the decoder's own map"):
            join(encoder, untied, tie_word_embeddings=True)


class TestDecoderOverrides:
    def make(self, **overrides):
        return TriptychConfig.from_preset("tiny", decoder_overrides=overrides)

    def test_without_any_both_sides_are_one_configuration(self):
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
    def test_what_makes_no_decoder_is_refused(self, overrides, complaint):
        with pytest.raises(StrictDataclassError, match=r"decoder_overrides(.|\n)*" + complaint):
            self.make(**overrides)
        config = self.make()
        config.decoder_overrides = overrides
        with pytest.raises(StrictDataclassError, match=r"decoder_overrides(.|\n)*" + complaint):
            TriptychModel(config)

    def test_survives_json(self, tmp_path):
        config = self.make(residual="pre", attention_pattern=["full", 4], num_attention_heads=2)
        config.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text())["decoder_overrides"] == config.decoder_overrides
        loaded = TriptychConfig.from_pretrained(tmp_path)
        config.name_or_path = loaded.name_or_path
        assert loaded.to_dict() == config.to_dict()
        assert loaded.decoder_side.to_dict() == config.decoder_side.to_dict()
        assert loaded.decoder_side.attention_pattern == ["full", 4]

    def test_what_is_derived_is_derived_anew(self):
        config = self.make(num_attention_heads=2)
        side = config.decoder_side
        assert config.head_dim != side.head_dim == side.value_head_dim == config.hidden_size // 2
        assert side.num_key_value_heads == 2
        assert self.make(num_attention_heads=2, head_dim=6).decoder_side.head_dim == 6
        rotary = TriptychConfig.from_preset(
            "tiny", positions="rotary", rotary_dim=4, decoder_overrides={"rotary_dim": None}
        )
        assert "partial_rotary_factor" not in rotary.decoder_side.rope_parameters
        assert rotary.rope_parameters["partial_rotary_factor"] == 0.5
        assert self.make(positions="rotary").decoder_side.rope_parameters["rope_theta"] == 10000.0

    def test_the_rest_is_common_at_all_times(self):
        config = TriptychConfig.from_preset("tiny", decoder_layers=3, decoder_overrides={"residual": "pre"})
        model = TriptychForConditionalGeneration(config)
        side = model.model.decoder.config
        assert side is not model.config
        model.config.use_cache, model.config._attn_implementation = False, "eager"
        model.config.output_hidden_states = True
        assert (side.use_cache, side._attn_implementation, side.output_hidden_states) == (False, "eager", True)
        side.use_cache = True
        assert model.config.use_cache is True
        model.config.residual = "post"
        assert side.residual == "pre"
        side.residual = "parallel"
        assert model.config.residual == "post"
        assert (side.num_hidden_layers, model.config.num_hidden_layers) == (3, 2)
        half = model.config.get_text_config(decoder=True)
        assert (half.num_hidden_layers, half.residual) == (3, "pre")
        half.use_cache = False
        assert model.config.use_cache is True

    def test_a_backend_suits_both_sides(self):
        model = TriptychModel(self.make(positions="relative"))
        before = model.config._attn_implementation
        with pytest.raises(ValueError, match="cannot add the bias of positions='relative'"):
            model.set_attn_implementation("flash_attention_2")
        assert model.config._attn_implementation == before == model.decoder.config._attn_implementation

    def test_plans_of_parallelism_follow(self):
        config = self.make(positions="relative", residual="pre", feed_forward="gated")
        plan = config.base_model_tp_plan
        assert plan["decoder.positions.table"] == HEADWISE_TABLE
        assert "encoder.positions.table" not in plan
        assert "decoder.layers.*.feed_forward.gate_proj" in plan
        assert "encoder.layers.*.feed_forward.gate_proj" not in plan
        assert "decoder.norm" in config.base_model_fsdp_plan
        assert "encoder.norm" not in config.base_model_fsdp_plan

    def test_length_beyond_source_ends_with_the_decoder(self):
        torch.manual_seed(0)
        model = TriptychForConditionalGeneration(self.make(positions="learned", max_position_embeddings=6)).eval()
        outputs = model.generate(masked(1, 5)[0], max_length_beyond_source=50, eos_token_id=None)
        assert outputs.shape == (1, 7)


# ------------------------------------------------------------------------------------------------------- fewer layers


def cut_by_hand(model, **kept):
    """The same model without the other layers, on the spot."""
    model = copy.deepcopy(model)
    for name, chosen in kept.items():
        stack = getattr(model.base_model, name) if name else model.base_model
        stack.layers = nn.ModuleList(stack.layers[i] for i in chosen)
    return model


BANDS = [None, ["full", 2], [2, 2, "full"], [2]]


class TestFewerLayers:
    @pytest.mark.parametrize("pattern", BANDS)
    @pytest.mark.parametrize("kept", [[0, 2, 4], range(1, 5, 2), [5], [3, 1]])
    @pytest.mark.parametrize("one_sided", ["encoder", "decoder"])
    def test_one_stack(self, make_model, words, close, one_sided, pattern, kept):
        model = make_model(one_sided, num_hidden_layers=6, attention_pattern=pattern)
        smaller = keep_layers(model, iter(kept))
        assert type(smaller) is type(model)
        assert (smaller.config.num_hidden_layers, model.config.num_hidden_layers) == (len(kept), 6)
        kinds = [model.config.attention_kind(i) for i in kept]
        assert [smaller.config.attention_kind(i) for i in range(len(kept))] == kinds
        x = model.model.embed_tokens(words(2, 9)) + model.model.positions.embed(torch.arange(9)[None], torch.float32)
        x = model.model.embedding_norm(model.model.segments(x, None))
        masks = {"full_attention": torch.zeros(9, 9), "sliding_attention": torch.zeros(9, 9)}
        reach = 1 if one_sided == "decoder" else 2  # a decoder's band counts the position itself
        distance = torch.arange(9)[:, None] - torch.arange(9)
        if one_sided == "decoder":
            masks = {kind: mask.masked_fill(distance < 0, -torch.inf) for kind, mask in masks.items()}
        masks["sliding_attention"] = masks["sliding_attention"].masked_fill(distance.abs() > reach, -torch.inf)
        for i in kept:
            x = model.model.layers[i](x, mask=masks[model.config.attention_kind(i)])
        close(smaller.model(words(2, 9)).last_hidden_state, model.model.norm(x))

    def test_both_stacks(self, make_model, words):
        model = make_model("encoder_decoder", encoder_layers=4, decoder_layers=3)
        inputs = {"input_ids": words(2, 7), "decoder_input_ids": words(2, 5, seed=1)}
        for kept in ({"encoder": [0, 2], "decoder": [2]}, {"encoder": [3]}, {"decoder": [0, 1]}):
            smaller = keep_layers(model, **{f"{name}_layers": chosen for name, chosen in kept.items()})
            assert torch.equal(smaller(**inputs).logits, cut_by_hand(model, **kept)(**inputs).logits)
            assert smaller.lm_head.weight is smaller.model.embed_tokens.weight
            generated = smaller.generate(inputs["input_ids"], max_new_tokens=6)
            assert torch.equal(generated, smaller.generate(inputs["input_ids"], max_new_tokens=6, use_cache=False))

    @pytest.mark.parametrize("overrides", [None, {"residual": "pre"}, {"attention_pattern": ["full", 3]}])
    def test_each_layer_keeps_its_own_kind_on_both_sides(self, make_model, overrides):
        fields = {"encoder_layers": 4, "decoder_layers": 4, "attention_pattern": [3, 3, "full", "full"]}
        model = make_model("encoder_decoder", **fields, decoder_overrides=overrides)
        for encoder, decoder in (([0, 2], [1, 3]), ([0, 1], [2, 3]), ([2, 3], [0, 1, 2]), ([0, 3], [3, 0])):
            smaller = keep_layers(model, encoder_layers=encoder, decoder_layers=decoder)
            for stack, kept in (("encoder", encoder), ("decoder", decoder)):
                before, after = (getattr(m.model, stack) for m in (model, smaller))
                for new, old in enumerate(kept):
                    assert after.config.attention_kind(new) == before.config.attention_kind(old)
                    former, now = before.layers[old].self_attention, after.layers[new].self_attention
                    assert (now.layer_idx, now.sliding_window) == (new, former.sliding_window)
                    assert torch.equal(now.q_proj.weight, former.q_proj.weight)
            assert smaller.model.decoder.config.residual == model.model.decoder.config.residual

    def test_every_class_can_be_cut(self, make_model, words):
        body = make_model("encoder").model  # which has no pooler
        assert keep_layers(body, [1]).pooler is None
        for family, name in (("encoder", "Encoder"), ("decoder", "Decoder")):
            config = {"Encoder": TriptychEncoderConfig, "Decoder": TriptychDecoderConfig}[name]
            head = {
                "Encoder": TriptychEncoderForSequenceClassification,
                "Decoder": TriptychDecoderForSequenceClassification,
            }[name]
            model = head(config.from_preset(f"tiny-{family}", num_labels=3)).eval()
            smaller = keep_layers(model, [1])
            assert torch.equal(smaller(words(2, 5)).logits, cut_by_hand(model, **{"": [1]})(words(2, 5)).logits)

    def test_what_else_belongs_to_the_model_stays(self, make_model, tmp_path):
        model = make_model("decoder", positions="relative", tie_word_embeddings=False).bfloat16().train()
        model.generation_config.num_beams = 3
        smaller = keep_layers(model, [1])
        assert (smaller.dtype, smaller.training, smaller.generation_config.num_beams) == (torch.bfloat16, True, 3)
        smaller.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path)
        assert all(torch.equal(loaded.state_dict()[n], t) for n, t in smaller.state_dict().items())
        with torch.no_grad():
            smaller.model.norm.weight.add_(1.0)
        assert not torch.equal(smaller.model.norm.weight, model.model.norm.weight)

    @pytest.mark.parametrize(
        ("family", "kept", "complaint"),
        [
            ("encoder", {"layers": []}, "layers is empty"),
            ("decoder", {"layers": [0, 2]}, "layers names 2, but there are the layers 0 to 1"),
            ("decoder", {"layers": [-1]}, "layers names -1"),
            ("encoder", {"layers": [1, 1]}, r"layers=\[1, 1\] names a layer twice"),
            ("encoder_decoder", {"encoder_layers": []}, "encoder_layers is empty"),
            ("encoder_decoder", {"decoder_layers": [5]}, "decoder_layers names 5"),
            ("encoder_decoder", {"layers": [0]}, "give encoder_layers or decoder_layers"),
            ("encoder_decoder", {}, "give encoder_layers or decoder_layers"),
            ("encoder", {}, "give layers"),
            ("decoder", {"layers": [0], "decoder_layers": [0]}, "give layers"),
        ],
    )
    def test_no_layers_to_keep(self, make_model, family, kept, complaint):
        with pytest.raises(ValueError, match=complaint):
            keep_layers(make_model(family), **kept)


# -------------------------------------------------------------------------------------------------- another vocabulary


OLD = {"<pad>": 0, "<unk>": 1, "<s>": 2, "</s>": 3, **{f"w{i}": i for i in range(4, 97)}}
# Words in another order, half of them unknown, in a vocabulary with a gap, whose special tokens have other names.
NEW = {**{f"w{i}": 100 - i for i in range(4, 50)}, **{f"n{i}": i for i in range(1, 40)}}
NEW |= {"[PAD]": 0, "[CLS]": 97, "[SEP]": 98, "<unk>": 110}
BERT_LIKE = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "<unk>"}
OURS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def tokenizer(vocabulary, special):
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


@pytest.fixture
def old():
    return tokenizer(OLD, OURS)


@pytest.fixture
def new():
    return tokenizer(NEW, BERT_LIKE)


def shared_ids():
    """The ids of common words in both vocabularies."""
    words = [word for word in NEW if word in OLD]
    return torch.tensor([OLD[word] for word in words]), torch.tensor([NEW[word] for word in words])


TIED = [{}, {"head_bias": True}, {"tie_word_embeddings": False, "head_bias": True}]


class TestAnotherVocabulary:
    @pytest.mark.parametrize("fields", TIED)
    @pytest.mark.parametrize("mappings", [False, True])
    def test_common_tokens_compute_what_they_did(self, make_model, family, old, new, fields, mappings, logits_of):
        model = make_model(family, **fields)
        changed = replace_vocabulary(model, *((OLD, NEW) if mappings else (old, new)))
        assert (changed.config.vocab_size, model.config.vocab_size) == (111, 97)
        before, after = shared_ids()
        picks = torch.randint(len(before), (2, 3, 7), generator=torch.Generator().manual_seed(0))
        expected = logits_of(model, before[picks[0]], target=before[picks[1]])
        found = logits_of(changed, after[picks[0]], target=after[picks[1]])
        assert found.shape[-1] == 111
        assert torch.equal(found[..., after], expected[..., before])
        assert (changed.lm_head.weight is changed.model.embed_tokens.weight) == ("tie_word_embeddings" not in fields)

    def test_new_tokens_start_at_the_mean(self, make_model, old, new, close):
        model = make_model("decoder", tie_word_embeddings=False, head_bias=True)
        changed = replace_vocabulary(model, old, new)
        for former, table in (
            (model.model.embed_tokens.weight, changed.model.embed_tokens.weight),
            (model.lm_head.weight, changed.lm_head.weight),
            (model.lm_head.bias, changed.lm_head.bias),
        ):
            for index in (NEW["n7"], 105):  # a new word, and a gap
                close(table[index], former.mean(0))

    def test_special_tokens_of_one_role_are_one_token(self, make_model, old, new):
        model = make_model("encoder_decoder")
        changed = replace_vocabulary(model, old, new)
        table, former = changed.model.embed_tokens.weight, model.model.embed_tokens.weight
        assert torch.equal(table[NEW["[PAD]"]], former[OLD["<pad>"]])
        assert torch.equal(table[NEW["<unk>"]], former[OLD["<unk>"]])
        for holder in (changed.config, changed.generation_config):
            assert (holder.pad_token_id, holder.bos_token_id, holder.eos_token_id) == (0, 97, 98)
            assert holder.decoder_start_token_id == 97
        assert model.config.bos_token_id == 2
        again = replace_vocabulary(changed, new, old)
        assert (again.config.bos_token_id, again.config.eos_token_id, again.config.vocab_size) == (2, 3, 97)

    def test_ids_follow_tokens_where_nothing_names_them(self, make_model):
        model = make_model("encoder_decoder", eos_token_id=[3, 50], decoder_start_token_id=4)
        model.generation_config.bad_words_ids = [[5], [6, 90], [90]]
        model.generation_config.suppress_tokens = [7, 90]
        model.generation_config.forced_bos_token_id = 90
        changed = replace_vocabulary(model, OLD, {**NEW, "</s>": 99})
        config, options = changed.config, changed.generation_config
        assert (config.eos_token_id, config.bos_token_id, config.pad_token_id) == ([99], None, None)
        assert config.decoder_start_token_id == NEW["w4"]
        assert options.bad_words_ids == [[NEW["w5"]]]
        assert (options.suppress_tokens, options.forced_bos_token_id) == ([NEW["w7"]], None)

    def test_a_start_without_a_counterpart_is_another_token(self, make_model, old):
        t5_like = tokenizer({"<pad>": 1, "<unk>": 0, "</s>": 2, "w5": 3}, {**OURS, "bos_token": None})
        changed = replace_vocabulary(make_model("encoder_decoder"), old, t5_like)
        config = changed.config
        assert (config.bos_token_id, config.decoder_start_token_id, config.eos_token_id) == (None, 1, 2)
        assert config.vocab_size == changed.lm_head.out_features == 4

    def test_each_of_two_vocabularies_is_replaced_alone(self, make_model, old, new):
        fields = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 97, "head_bias": True}
        model = make_model("encoder_decoder", **fields)
        before, after = shared_ids()
        ids, target = before[:6][None], before[6:11][None]
        expected = model(input_ids=ids, decoder_input_ids=target).logits
        source = replace_vocabulary(model, old, new, side="source")
        assert (source.config.vocab_size, source.config.decoder_vocab_size) == (111, 97)
        assert source.config.eos_token_id == 3
        assert torch.equal(source(input_ids=after[:6][None], decoder_input_ids=target).logits, expected)
        both = replace_vocabulary(source, old, new, side="target")
        assert (both.config.vocab_size, both.config.decoder_vocab_size) == (111, 111)
        assert (both.config.eos_token_id, both.lm_head.weight is both.model.decoder_embed_tokens.weight) == (98, True)
        found = both(input_ids=after[:6][None], decoder_input_ids=after[6:11][None]).logits
        assert torch.equal(found[..., after], expected[..., before])

    def test_two_matrices_over_one_vocabulary(self, make_model, old, new):
        model = make_model("encoder_decoder", share_encoder_decoder_embeddings=False)
        changed = replace_vocabulary(model, old, new)
        before, after = shared_ids()
        assert torch.equal(changed.model.embed_tokens.weight[after], model.model.embed_tokens.weight[before])
        own = changed.model.decoder_embed_tokens.weight
        assert torch.equal(own[after], model.model.decoder_embed_tokens.weight[before])

    def test_of_a_warm_started_model(self, make_model, old, new):
        encoder, decoder = (make_model(family, hidden_size=32, vocab_size=97) for family in ("encoder", "decoder"))
        model = TriptychForConditionalGeneration.from_encoder_decoder(encoder, decoder)
        changed = keep_layers(replace_vocabulary(model, old, new, side="target"), decoder_layers=[0])
        before, after = shared_ids()
        ids = before[:6][None]
        expected = keep_layers(model, decoder_layers=[0])(input_ids=ids, decoder_input_ids=ids).logits
        found = changed(input_ids=ids, decoder_input_ids=after[:6][None]).logits
        assert torch.equal(found[..., after], expected[..., before])

    def test_heads_and_bodies_without_a_map(self, make_model, old, new):
        before, after = shared_ids()
        body = make_model("encoder").model
        found = replace_vocabulary(body, old, new)(after[None, :5]).last_hidden_state
        assert torch.equal(found, body(before[None, :5]).last_hidden_state)
        model = TriptychDecoderForSequenceClassification(TriptychDecoderConfig.from_preset("tiny-decoder")).eval()
        found = replace_vocabulary(model, old, new)(after[None, :5]).logits
        assert torch.equal(found, model(before[None, :5]).logits)

    def test_of_a_public_model(self, old, new, close, tmp_path):
        torch.manual_seed(0)
        bert = BertForMaskedLM(
            BertConfig(vocab_size=97, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
        ).eval()
        nn.init.normal_(bert.cls.predictions.bias)
        changed = replace_vocabulary(from_hf(bert), old, new)
        before, after = shared_ids()
        close(changed(after[None, :9]).logits[..., after], bert(before[None, :9]).logits[..., before])
        changed.save_pretrained(tmp_path)
        loaded = type(changed).from_pretrained(tmp_path)
        assert torch.equal(loaded(after[None, :9]).logits, changed(after[None, :9]).logits)

    def test_what_is_frozen_and_half_precise_stays_so(self, make_model, old, new):
        model = make_model("decoder").bfloat16().requires_grad_(False)
        changed = replace_vocabulary(model, old, new)
        assert changed.dtype == torch.bfloat16
        assert not any(parameter.requires_grad for parameter in changed.parameters())

    def test_sides_and_tokens_that_are_not_there(self, make_model, old, new):
        with pytest.raises(ValueError, match=r"side='source'.*one vocabulary"):
            replace_vocabulary(make_model("encoder"), old, new, side="source")
        fields = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 97}
        for side in (None, "both"):
            with pytest.raises(ValueError, match="two vocabularies; choose"):
                replace_vocabulary(make_model("encoder_decoder", **fields), old, new, side=side)
        with pytest.raises(ValueError, match="no tokens"):
            replace_vocabulary(make_model("decoder"), OLD, {})
        model = make_model("encoder_decoder", **fields, pad_token_id=9)
        with pytest.raises(StrictDataclassError, match="pad_token_id=9 lies outside"):
            replace_vocabulary(model, OLD, {"w5": 0}, side="source")

"""An encoder–decoder from two models: each side computes what it did, cross-attention is new."""

import copy
import pickle

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from triptych import (
    TriptychDecoderForSequenceClassification,
    TriptychEncoderForSequenceClassification,
    TriptychForConditionalGeneration,
    TriptychForSequenceClassification,
    TriptychModel,
    from_hf,
)

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


def test_each_side_computes_what_it_did(pair):
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


def test_cross_attention_is_new_and_read(pair):
    model = TriptychForConditionalGeneration.from_encoder_decoder(*pair)
    target = masked(2, 6, seed=1)[0]
    first, second = (model(input_ids=masked(2, 7, seed=s)[0], decoder_input_ids=target).logits for s in (2, 3))
    assert not torch.equal(first, second)
    given = model.model.decoder.layers[0].self_attention.q_proj.weight.std()
    new = model.model.decoder.layers[0].cross_attention.q_proj.weight.std()
    assert given > 0.2 > new  # as the configuration says, which is narrower than these models are


def test_saved_and_loaded(pair, tmp_path):
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


def test_generates_the_same_with_and_without_cache(pair):
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


def test_left_padding_changes_nothing(pair, close):
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


def test_backends_agree_and_reach_both_sides(pair, close):
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


def test_learns_everywhere(pair, gradients):
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
def test_compiles_whole(pair, close):
    model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
    inputs = {"input_ids": masked(2, 7)[0], "decoder_input_ids": masked(2, 6, seed=1)[0]}
    torch._dynamo.reset()
    with torch.no_grad():
        close(torch.compile(model, fullgraph=True, backend="eager")(**inputs).logits, model(**inputs).logits)
    torch._dynamo.reset()


def test_of_public_models(public, close):
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


def test_tied_where_the_decoder_is(make_model):
    for tied in (True, False):
        decoder = make_model("decoder", hidden_size=32, tie_word_embeddings=tied)
        model = TriptychForConditionalGeneration.from_encoder_decoder(make_model("encoder", hidden_size=32), decoder)
        assert (model.lm_head.weight is model.model.decoder_embed_tokens.weight) == tied
        assert torch.equal(model.lm_head.weight, decoder.lm_head.weight)


def test_bodies_other_heads_and_directories(make_model, tmp_path):
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


def test_given_models_stay_as_they_are(pair):
    before = [(copy.deepcopy(m.state_dict()), m.config.to_dict()) for m in pair]
    model = loud(TriptychForConditionalGeneration.from_encoder_decoder(*pair))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for given, (state, config) in zip(pair, before, strict=True):
        assert given.config.to_dict() == config
        assert all(torch.equal(state[name], tensor) for name, tensor in given.state_dict().items())


def test_precision_holds_both(make_model):
    encoder, decoder = (make_model(family, hidden_size=32) for family in ("encoder", "decoder"))
    assert TriptychModel.from_encoder_decoder(encoder.bfloat16(), decoder).dtype == torch.float32
    assert TriptychModel.from_encoder_decoder(encoder, decoder.bfloat16()).dtype == torch.bfloat16


def test_tokens_and_options_of_generation(make_model):
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


def test_what_does_not_fit_is_named(make_model, public, tmp_path):
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
    with pytest.raises(ValueError, match="lose the decoder's separate map"):
        join(encoder, untied, tie_word_embeddings=True)

"""Fewer layers: the smaller model computes what the teacher does without the others."""

import copy

import pytest
import torch
from torch import nn

from triptych import (
    TriptychDecoderConfig,
    TriptychDecoderForSequenceClassification,
    TriptychEncoderConfig,
    TriptychEncoderForSequenceClassification,
    keep_layers,
)
from triptych.modeling.surroundings import Surroundings


def cut_by_hand(model, **kept):
    """The same model without the other layers, on the spot."""
    model = copy.deepcopy(model)
    for name, chosen in kept.items():
        stack = getattr(model.base_model, name) if name else model.base_model
        stack.layers = nn.ModuleList(stack.layers[i] for i in chosen)
    return model


BANDS = [None, ["full", 2], [2, 2, "full"], [2]]


@pytest.mark.parametrize("pattern", BANDS)
@pytest.mark.parametrize("kept", [[0, 2, 4], range(1, 5, 2), [5], [3, 1]])
@pytest.mark.parametrize("one_sided", ["encoder", "decoder"])
def test_one_stack(make_model, words, close, one_sided, pattern, kept):
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
        x = model.model.layers[i](x, surroundings=Surroundings(masks))
    close(smaller.model(words(2, 9)).last_hidden_state, model.model.norm(x))


def test_both_stacks(make_model, words):
    model = make_model("encoder_decoder", encoder_layers=4, decoder_layers=3)
    inputs = {"input_ids": words(2, 7), "decoder_input_ids": words(2, 5, seed=1)}
    for kept in ({"encoder": [0, 2], "decoder": [2]}, {"encoder": [3]}, {"decoder": [0, 1]}):
        smaller = keep_layers(model, **{f"{name}_layers": chosen for name, chosen in kept.items()})
        assert torch.equal(smaller(**inputs).logits, cut_by_hand(model, **kept)(**inputs).logits)
        assert smaller.lm_head.weight is smaller.model.embed_tokens.weight
        generated = smaller.generate(inputs["input_ids"], max_new_tokens=6)
        assert torch.equal(generated, smaller.generate(inputs["input_ids"], max_new_tokens=6, use_cache=False))


@pytest.mark.parametrize("overrides", [None, {"residual": "pre"}, {"attention_pattern": ["full", 3]}])
def test_each_layer_keeps_its_own_kind_on_both_sides(make_model, overrides):
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


def test_every_class_can_be_cut(make_model, words):
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


def test_what_else_belongs_to_the_model_stays(make_model, tmp_path):
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
def test_no_layers_to_keep(make_model, family, kept, complaint):
    with pytest.raises(ValueError, match=complaint):
        keep_layers(make_model(family), **kept)

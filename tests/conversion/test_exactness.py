"""The same weights give the same numbers: outputs, losses, every layer, every token that is generated.

Models of ours are those that were saved and loaded.
"""

import pytest
import torch

import triptych

PER_LAYER = ("hidden_states", "attentions", "encoder_hidden_states", "encoder_attentions", "decoder_hidden_states")
PER_LAYER += ("decoder_attentions", "cross_attentions")


def flat_choices(mask):
    return mask.flatten(0, 1) if mask.ndim == 3 else mask


@pytest.mark.parametrize("side", ["right", "left"])
def test_outputs_and_losses_are_equal(
    theirs, ours_of, make_batch, same_positions, assert_close, visible_part, side: str
):
    ours = ours_of(theirs)
    models = ours, theirs
    for_theirs, for_ours = same_positions(theirs, make_batch(theirs, side))
    batches = for_ours, for_theirs
    with torch.no_grad():
        expected, actual = theirs(**for_theirs), ours(**for_ours)
    compared = 0
    mask = for_theirs["attention_mask"]
    assert ("pooler_output" in actual) == ("pooler_output" in expected)
    for name, value in expected.items():
        if not torch.is_tensor(value):
            continue
        assert name in actual, name
        per_token = value.ndim >= 2 and value.shape[:2] == mask.shape and name != "encoder_last_hidden_state"
        if side == "left" and name == "pooler_output":
            continue  # theirs is of the padding
        if side == "left" and name in ("loss", "logits", "seq_relationship_logits") and reads_first_token(theirs):
            continue
        if name == "loss" and "start_logits" in expected:
            with torch.no_grad():  # transformers' softmax includes padding, so the row without padding is compared
                losses = [m(**{k: v[:1] for k, v in b.items()}).loss for m, b in zip(models, batches, strict=True)]
            assert_close(*losses, name)
            continue
        if (per_token and "decoder_input_ids" not in for_theirs) or name == "encoder_last_hidden_state":
            assert_close(visible_part(actual[name], mask), visible_part(value, mask), name)
        else:
            assert_close(actual[name], value, name)
        compared += 1
    assert compared or side == "left"


def test_what_comes_back_computes_the_same(theirs, back_of, make_batch):
    """Bit for bit: `to_hf`, saved, and loaded by their own class."""
    batch = make_batch(theirs)
    with torch.no_grad():
        expected, actual = theirs(**batch), back_of(theirs)(**batch)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert not torch.is_tensor(value) or torch.equal(actual[name], value), name


def reads_first_token(model) -> bool:
    """Whether theirs reads the first position of a row, be it padding: ours reads the first token."""
    name = type(model).__name__
    if model.config.is_encoder_decoder:  # its decoder reads the source from the first position on
        return "ForSequence" in name
    kinds = ("ForSequence", "ForMultipleChoice", "ForNextSentence", "ForPreTraining")
    return any(k in name for k in kinds) and not causal(model)


def causal(model) -> bool:
    return triptych.conversion.find_architecture(model.config).config_class.model_type == "triptych_decoder"


def test_every_layer_is_equal(theirs, ours_of, make_batch, same_positions, assert_close, visible_part):
    ours = ours_of(theirs)
    for model in (theirs, ours):
        model.set_attn_implementation("eager")
        model.config._attn_implementation = "eager"  # of Falcon, which does not let it be set
    for_theirs, for_ours = same_positions(theirs, make_batch(theirs))
    options = {"output_hidden_states": True, "output_attentions": True, "use_cache": False}
    if "use_cache" not in theirs.forward.__code__.co_varnames:
        options.pop("use_cache")
    with torch.no_grad():
        expected, actual = theirs(**for_theirs, **options), ours(**for_ours, **options)
    mask = flat_choices(for_theirs["attention_mask"]).bool()
    compared = 0
    for name in PER_LAYER:
        if not expected.get(name):
            continue
        assert len(actual[name]) == len(expected[name]), name
        for i, (a, e) in enumerate(zip(actual[name], expected[name], strict=True)):
            what = f"{name}[{i}]"
            if name.startswith(("decoder", "cross")) and "decoder_input_ids" in for_theirs:
                assert_close(a, e, what)
            elif name.endswith("hidden_states"):
                assert_close(a[mask], e[mask], what)
            else:
                assert_close(a.transpose(1, 2)[mask], e.transpose(1, 2)[mask], what)
            compared += 1
    assert compared >= 2 * (1 + theirs.config.num_hidden_layers) - 1


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_generated_tokens_are_equal(generator, ours_of, make_batch, num_beams: int, use_cache: bool):
    ours = ours_of(generator)
    side = "right" if generator.config.is_encoder_decoder else "left"
    batch = make_batch(generator, side)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    options = {"max_new_tokens": 8, "num_beams": num_beams, "use_cache": use_cache, "do_sample": False}
    options |= {"min_new_tokens": 4, "output_scores": True, "return_dict_in_generate": True}
    # Models this small say one word for ever; and where padding has no position, one must not say it.
    options |= {"no_repeat_ngram_size": 2, "suppress_tokens": [generator.config.pad_token_id or 0]}
    actual = ours.generate(**inputs, **options)
    if generator.config.model_type == "fsmt":  # which sees the future where it generates without a cache
        options["use_cache"] = True
    expected = generator.generate(**inputs, **options)
    assert torch.equal(actual.sequences, expected.sequences)
    assert len(set(actual.sequences.flatten().tolist())) > 3  # else the model says nothing

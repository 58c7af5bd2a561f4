"""Masks with zeros anywhere mean to ours what they mean to theirs, whether positions are given or not."""

import inspect

import pytest
import torch

import triptych

# Rows that begin with a token; of those that do not, ours count from the first that is none, whatever theirs do.
MASK = torch.tensor([[1, 1, 0, 0, 1, 1, 1, 0, 1], [1, 0, 1, 1, 1, 1, 0, 1, 0], [1] * 9])
LEADING = torch.tensor([[0, 0, 1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 1, 0, 0, 1, 1, 1]])
BY_PADDING = ("roberta", "xlm-roberta", "camembert")  # whose position_ids count from behind the id of the padding


def make_inputs(model, mask):
    generator, pad = torch.Generator().manual_seed(3), model.config.pad_token_id or 0
    ids = torch.randint(5, model.config.vocab_size, mask.shape, generator=generator).masked_fill(mask == 0, pad)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.is_encoder_decoder:
        other = mask.flip(0)
        targets = torch.randint(5, model.config.vocab_size, other.shape, generator=generator)
        targets[:, 0] = model.config.decoder_start_token_id
        inputs |= {"decoder_input_ids": targets.masked_fill(other == 0, pad), "decoder_attention_mask": other}
        inputs["use_cache"] = False  # with one, FSMT's own decoder ignores the mask
    return inputs


@torch.no_grad()
def test_logits_under_masks_with_holes(speaker, assert_close):
    ours, inputs = triptych.from_hf(speaker), make_inputs(speaker, MASK)
    seen = inputs.get("decoder_attention_mask", MASK).bool()
    assert_close(ours(**inputs).logits[seen], speaker(**inputs).logits[seen])


@torch.no_grad()
def test_logits_at_positions_that_are_given(speaker, assert_close):
    """Made the usual ways; the rows may begin with masked tokens."""
    if "position_ids" not in inspect.signature(speaker.forward).parameters:
        return
    ours, inputs = triptych.from_hf(speaker), make_inputs(speaker, LEADING)
    offset = speaker.config.pad_token_id + 1 if speaker.config.model_type in BY_PADDING else 0
    positions = LEADING.cumsum(-1) - 1
    for position_ids in (positions.clamp(min=0), positions.masked_fill(LEADING == 0, 1)):
        numbers = position_ids + offset
        expected = speaker(**inputs, position_ids=numbers).logits
        assert_close(ours(**inputs, position_ids=numbers).logits[LEADING == 1], expected[LEADING == 1])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generated_tokens_under_masks_with_holes(speaker, assert_close, num_beams):
    """With a masked last token, too: theirs, and so ours, counts on from its position, which is 0."""
    if not speaker.can_generate():
        return
    mask, use_cache = MASK.clone(), True
    if speaker.config.model_type == "m2m_100":  # from a cache, its own positions count what it masks
        mask[:, -1], use_cache = 1, False
    ours, inputs = triptych.from_hf(speaker), make_inputs(speaker, mask) | {"use_cache": use_cache}
    if speaker.config.model_type == "fsmt":  # generating, its own decoder ignores the mask
        del inputs["decoder_input_ids"], inputs["decoder_attention_mask"]
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": num_beams}
    options |= {"output_logits": num_beams == 1, "return_dict_in_generate": True}
    options |= {"no_repeat_ngram_size": 2, "suppress_tokens": [speaker.config.pad_token_id or 0]}
    expected, found = speaker.generate(**inputs, **options), ours.generate(**inputs | {"use_cache": True}, **options)
    assert torch.equal(found.sequences, expected.sequences)
    if num_beams == 1:
        for one, other in zip(found.logits, expected.logits, strict=True):
            assert_close(one, other)

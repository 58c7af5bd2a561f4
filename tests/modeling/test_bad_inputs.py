"""Inputs that are wrong or odd: a clear exception or a defined result, never NaN, never a silent wrong answer."""

import pytest
import torch


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("training", [True, False])
def test_a_row_of_padding_harms_nobody(
    make_model, family, scheme, make_batch, gradients, close, attn_implementation, training
):
    """Its own outputs are finite, those of the other rows and the loss are as without it."""
    model = make_model(family, **scheme).train(training)  # dropout is 0
    model.set_attn_implementation(attn_implementation)
    batch = make_batch(family, [4, 9])
    expected = model(**batch)
    wider = {
        name: torch.cat([value, torch.full_like(value[:1], -100 if name == "labels" else 0)])
        for name, value in batch.items()
    }
    found = model(**wider)
    assert found.logits.isfinite().all()
    close(found.logits[:2], expected.logits)
    close(found.loss, expected.loss)
    assert all(gradient.isfinite().all() for gradient in gradients(model, found.loss).values())


@torch.no_grad()
def test_a_prompt_of_padding_generates_tokens(make_model, causal_family, words):
    model = make_model(causal_family)
    ids, mask = words(2, 5), torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    together = model.generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
    alone = model.generate(ids[:1], attention_mask=mask[:1], max_new_tokens=4, do_sample=False)
    assert together[0, : alone.shape[1]].tolist() == alone[0].tolist()
    assert ((together >= 0) & (together < 97)).all()


@pytest.mark.parametrize("token", [97, -1])
def test_ids_outside_the_vocabulary_are_named(make_model, family, token):
    ids = torch.tensor([[7, token, 9]])
    extra = {"decoder_input_ids": torch.tensor([[2, 7]])} if family == "encoder_decoder" else {}
    with pytest.raises(IndexError, match=r"input_ids must lie in \[0, 97\).*enlarge vocab_size"):
        make_model(family)(input_ids=ids, **extra)


@pytest.mark.parametrize("token", [97, -1])
def test_labels_outside_the_vocabulary_are_named(make_model, family, token):
    ids = torch.tensor([[7, 8, 9]])
    with pytest.raises(IndexError, match=r"(labels|decoder_input_ids).* lie in \[0, 97\)"):
        make_model(family)(input_ids=ids, labels=torch.tensor([[7, token, 9]]))


def test_a_sequence_longer_than_the_learned_table_is_named(make_model, family, words):
    model, ids = make_model(family, positions="learned", max_position_embeddings=8), words(1, 9)
    extra = {"decoder_input_ids": words(1, 3)} if family == "encoder_decoder" else {}
    with pytest.raises(IndexError, match=r"position_ids .*must lie in \[0, 8\).*enlarge max_position_embeddings"):
        model(input_ids=ids, **extra)


def test_generation_stops_at_the_learned_table_with_a_clear_error(make_model, words):
    model = make_model("decoder", positions="learned", max_position_embeddings=8)
    model.generation_config.eos_token_id = None
    with pytest.raises(IndexError, match="enlarge max_position_embeddings"):
        model.generate(words(1, 6), max_new_tokens=5, do_sample=False)


@pytest.mark.parametrize("shape", [(3,), (2, 4, 4), (2, 1, 1, 4, 4)])
def test_masks_of_no_shape_that_means_anything_are_refused(make_model, family, words, shape):
    extra = {"decoder_input_ids": words(2, 3)} if family == "encoder_decoder" else {}
    with pytest.raises(ValueError, match="attention_mask"):
        make_model(family)(input_ids=words(2, 4), attention_mask=torch.ones(shape, dtype=torch.long), **extra)


@pytest.mark.parametrize("rows", [1, 3])
def test_masks_of_other_rows_are_refused(make_model, family, words, rows):
    extra = {"decoder_input_ids": words(2, 3)} if family == "encoder_decoder" else {}
    with pytest.raises(ValueError, match="attention_mask"):
        make_model(family)(input_ids=words(2, 4), attention_mask=torch.ones(rows, 4, dtype=torch.long), **extra)


def test_labels_of_another_length_are_refused(make_model, family, words):
    labels = words(2, 6)
    extra = {"decoder_input_ids": words(2, 5)} if family == "encoder_decoder" else {}
    with pytest.raises(ValueError, match=r"labels have the shape \(2, 6\)"):
        make_model(family)(input_ids=words(2, 5), labels=labels, **extra)


def test_a_source_and_a_target_of_different_rows_are_refused(make_model, words):
    with pytest.raises(ValueError, match="2 sources, but 3 targets"):
        make_model("encoder_decoder")(input_ids=words(2, 5), decoder_input_ids=words(3, 5))

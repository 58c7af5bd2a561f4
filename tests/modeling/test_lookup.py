"""A row that a table does not have is an error that names the input, the values and the remedy."""

import pytest
import torch


@pytest.mark.parametrize("bad", [97, -1])
def test_token_outside_the_vocabulary(make_model, family, words, bad):
    ids = words(2, 4)
    ids[1, 2] = bad
    inputs = {"decoder_input_ids": words(2, 3)} if family == "encoder_decoder" else {}
    with pytest.raises(IndexError, match=rf"input_ids must lie in \[0, 97\), got values .*{bad}.*enlarge vocab_size"):
        make_model(family)(input_ids=ids, **inputs)


@pytest.mark.parametrize("name", ["decoder_input_ids", "labels"])
def test_target_token_outside_its_own_vocabulary(make_model, words, name):
    model = make_model("encoder_decoder", decoder_vocab_size=53, share_encoder_decoder_embeddings=False)
    target = torch.tensor([[7, 53, 9]])
    with pytest.raises(IndexError, match=r"decoder_input_ids \(or labels\).*\[0, 53\).*53.*decoder_vocab_size"):
        model(input_ids=words(1, 4), **{name: target})


def test_last_label_outside_the_vocabulary(make_model, family, words):
    """The last label of a row is never embedded: only the loss reads it."""
    labels = words(1, 4)
    labels[0, -1] = 97
    with pytest.raises(IndexError, match="97"):
        make_model(family)(input_ids=words(1, 4), labels=labels)


def test_input_longer_than_learned_positions(make_model, family, words):
    inputs = {"decoder_input_ids": words(1, 3)} if family == "encoder_decoder" else {}
    model = make_model(family, positions="learned", max_position_embeddings=8)
    model(input_ids=words(1, 8), **inputs)
    with pytest.raises(IndexError, match=r"position_ids.*\[0, 8\), got values from 0 to 8.*max_position_embeddings"):
        model(input_ids=words(1, 9), **inputs)


def test_segment_that_does_not_exist(make_model, words):
    with pytest.raises(IndexError, match=r"token_type_ids must lie in \[0, 2\), got values from 0 to 2"):
        make_model("encoder")(input_ids=words(1, 3), token_type_ids=torch.tensor([[0, 1, 2]]))

"""Rows of causal language modelling: no token is lost, none is asked for twice, and documents do not mix."""

import pytest
import torch

import tiny
from triptych.data.objectives.causal import CausalLMCollator, pack, pieces_of
from triptych.modeling.labels import next_token_labels


def asked(pieces):
    """The tokens that positions of the pieces predict: all but the first one of each piece."""
    return [token for piece in pieces for token in piece[1:]]


def test_pieces_by_hand():
    assert pieces_of([0, 1, 2, 3, 4, 5, 6], 3) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert pieces_of([0, 1, 2, 3], 3) == [[0, 1, 2], [2, 3]]
    assert pieces_of([0], 3) == [[0]]


@pytest.mark.parametrize("block_size", [2, 3, 5, 8])
def test_every_token_but_the_first_is_predicted_once(block_size):
    for length in range(1, 20):
        pieces = pieces_of(list(range(length)), block_size)
        assert asked(pieces) == list(range(1, length))
        assert max(map(len, pieces)) <= block_size


def test_packing_by_hand():
    packed = pack([[2, 7, 8, 3], [2, 9, 3], [2, 5, 3]], 6)
    assert packed["input_ids"] == [[2, 7, 8, 3, 2, 9], [9, 3, 2, 5, 3]]
    assert packed["document_ids"] == [[0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]


@pytest.mark.parametrize("block_size", [2, 5, 9, 100])
def test_packed_rows_ask_for_every_token_that_a_document_has(block_size):
    documents = [[1, *range(10 * n, 10 * n + size), 0] for n, size in enumerate([3, 0, 9, 1, 5, 2], start=1)]
    packed = pack(documents, block_size)
    batch = CausalLMCollator(0, is_packed=True)(
        [dict(zip(packed, row, strict=True)) for row in zip(*packed.values(), strict=True)]
    )
    labels = next_token_labels(batch["labels"], batch["document_ids"])
    assert labels[labels != -100].tolist() == [token for document in documents for token in document[1:]]
    assert {len(row) for row in packed["input_ids"][:-1]} <= {block_size}


def test_the_batch_by_hand():
    batch = CausalLMCollator(7)([{"input_ids": [2, 7, 3]}, {"input_ids": [2, 7]}])
    assert batch.keys() == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"].tolist() == [[2, 7, 3], [2, 7, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[2, 7, 3], [2, 7, -100]]  # 7 fills up, and is a token, too


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_empty_piece_adds_nothing(is_packed):
    model = tiny.make_model("decoder").train()
    loss = model(**CausalLMCollator(0, is_packed)([]), num_items_in_batch=5, skip_logits=True).loss
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_packed_documents_have_the_loss_of_separate_ones():
    model = tiny.make_model("decoder")
    documents = [tiny.words(length, seed=length).tolist() for length in (5, 9, 3, 7)]
    packed = pack(documents, 64)
    row = {name: rows[0] for name, rows in packed.items()}
    together = CausalLMCollator(0, is_packed=True)([row])
    apart = CausalLMCollator(0)([{"input_ids": document} for document in documents])
    losses = [model(**batch, **model.count_items(batch)).loss for batch in (together, apart)]
    torch.testing.assert_close(*losses)
    assert model.count_items(together)["num_items_in_batch"] == model.count_items(apart)["num_items_in_batch"] == 20

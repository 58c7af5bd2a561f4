"""Losses against explicit formulas, and independent of how an update is cut into pieces."""

import pytest
import torch
from torch.nn import functional as F

from triptych.modeling import losses
from triptych.modeling.labels import next_token_labels, shift_right
from triptych.modeling.losses import token_cross_entropy


def by_the_formula(logits, labels, epsilon):
    """(1 - ε) · nll of the label + ε / V · Σ nll over the vocabulary, summed over the labels that count."""
    nll = -logits.log_softmax(-1)
    total = torch.zeros(())
    for b in range(labels.shape[0]):
        for t in range(labels.shape[1]):
            if labels[b, t] != -100:
                row = nll[b, t]
                total = total + (1 - epsilon) * row[labels[b, t]] + epsilon / len(row) * row.sum()
    return total


@pytest.fixture
def example():
    torch.manual_seed(0)
    labels = torch.tensor([[3, 0, 10, 2], [5, -100, 1, -100]])
    return torch.randn(2, 4, 11).mul(2).requires_grad_(), labels


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("chunk", [losses.CHUNK, 11, 40])
def test_label_smoothing_is_uniform_over_the_vocabulary(example, epsilon, chunk, monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", chunk)  # all rows at once, one by one, three at a time
    logits, labels = example
    loss = token_cross_entropy(logits, labels, epsilon)
    expected = by_the_formula(logits, labels, epsilon) / 6
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, logits)[0] for x in (loss, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert not ours[1, [1, 3]].any()


def test_smoothed_loss_by_hand():
    """Two words with log-probabilities log 1/4 and log 3/4, ε = 0.2: 0.9 · 0.287682 + 0.1 · 1.386294."""
    logits = torch.tensor([[[0.25, 0.75]]]).log()
    assert token_cross_entropy(logits, torch.tensor([[1]]), 0.2).item() == pytest.approx(0.3975433, abs=1e-6)


@pytest.mark.parametrize("items", [24, torch.tensor(24)])
def test_sum_is_divided_by_the_given_number(example, items):
    logits, labels = example
    torch.testing.assert_close(
        token_cross_entropy(logits, labels, 0.1, items), by_the_formula(logits, labels, 0.1) / 24
    )


def test_low_precision_logits_are_summed_in_full_precision(example):
    logits, labels = example[0].detach().bfloat16().requires_grad_(), example[1]
    loss = token_cross_entropy(logits, labels, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, by_the_formula(logits.detach().float(), labels, 0.1) / 6)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = torch.autograd.functional.jacobian(
        lambda z: by_the_formula(z, labels, 0.1) / 6, logits.detach().float()
    )
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.float(), expected, atol=2e-3, rtol=1e-2)


def test_gradient_scales_with_what_follows(example):
    logits, labels = example
    plain, scaled = (torch.autograd.grad(k * token_cross_entropy(logits, labels, 0.1), logits)[0] for k in (1, 3))
    torch.testing.assert_close(scaled, 3 * plain)


def test_ignored_rows_may_hold_anything(example):
    logits, labels = example
    spoilt = logits.detach().clone()
    spoilt[1, 1], spoilt[1, 3] = float("nan"), float("inf")
    spoilt.requires_grad_()
    loss = token_cross_entropy(spoilt, labels, 0.1)
    torch.testing.assert_close(loss, token_cross_entropy(logits, labels, 0.1))
    loss.backward()
    assert spoilt.grad.isfinite().all()


def test_no_label_at_all_is_zero(example):
    logits, labels = example
    loss = token_cross_entropy(logits, torch.full_like(labels, -100), 0.1)
    assert loss.item() == 0
    loss.backward()
    assert not logits.grad.any()


def test_shift_right():
    labels = torch.tensor([[7, 8, 3], [9, 3, -100], [-100, -100, -100]])
    assert shift_right(labels, 2, 0).tolist() == [[2, 7, 8], [2, 9, 3], [2, 0, 0]]


def test_next_token_labels():
    assert next_token_labels(torch.tensor([[4, 5, 6], [7, -100, -100]])).tolist() == [[5, 6, -100], [-100, -100, -100]]


LENGTHS = [3, 9, 5, 1, 7, 2, 8, 4, 6, 6, 1, 9, 2, 5, 3, 8]


def labels_that_count(family, batch):
    labels = batch["labels"][:, 1:] if family == "decoder" else batch["labels"]
    return (labels != -100).sum()


def test_no_label_at_all_is_zero_for_a_model(make_model, family, make_batch, gradients):
    batch = make_batch(family, [4, 6])
    batch["labels"] = torch.full_like(batch["labels"], -100)
    model = make_model(family, label_smoothing=0.1).train()
    loss = model(**batch).loss
    assert loss.item() == 0
    assert not any(gradient.any() for gradient in gradients(model, loss).values())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_loss_of_a_model_is_the_formula(make_model, family, make_batch, epsilon, training):
    """Smoothed in training only: an evaluation gives the negative log-likelihood."""
    batch = make_batch(family, [4, 6, 9])
    output = make_model(family, label_smoothing=epsilon).train(training)(**batch)  # dropout is 0
    if not training:
        epsilon = 0.0
    logits, labels = output.logits, batch["labels"]
    if family == "decoder":
        logits, labels = logits[:, :-1], labels[:, 1:]
    count = (labels != -100).sum()
    torch.testing.assert_close(output.loss, by_the_formula(logits, labels, epsilon) / count)
    if epsilon == 0:
        torch.testing.assert_close(output.loss, F.cross_entropy(logits.flatten(0, 1), labels.flatten()))


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_one_batch_of_16_equals_8_pieces_of_2(make_model, family, make_batch, gradients, assert_close_trees, epsilon):
    model = make_model(family, label_smoothing=epsilon).train()  # dropout is 0
    whole = make_batch(family, LENGTHS)
    items = labels_that_count(family, whole)
    loss = model(**whole, num_items_in_batch=items).loss
    torch.testing.assert_close(loss, model(**whole).loss)
    pieces = [
        model(**make_batch(family, LENGTHS[i : i + 2], first_row=i), num_items_in_batch=items).loss
        for i in range(0, 16, 2)
    ]
    torch.testing.assert_close(sum(pieces), loss)
    assert_close_trees(gradients(model, sum(pieces)), gradients(model, loss), rtol=1e-5)


def test_labels_that_are_shifted_already(make_model, make_batch):
    model, batch = make_model("decoder"), make_batch("decoder", [4, 6])
    expected = model(**batch).loss
    labels = batch.pop("labels")
    torch.testing.assert_close(model(**batch, shift_labels=next_token_labels(labels)).loss, expected)


def test_training_keeps_no_cache(make_model, causal_family, make_batch):
    batch = make_batch(causal_family, [4, 6])
    model = make_model(causal_family)
    assert model(**batch).past_key_values is None
    assert model(**batch, use_cache=True).past_key_values is not None


@pytest.mark.parametrize(
    ("packing", "number"),
    [
        ({}, 7),  # 2 rows of 5 without their first tokens, one label is ignored
        ({"document_ids": torch.tensor([[0, 0, 0, 1, 1], [0, 1, 2, 2, 2]])}, 4),
        ({"position_ids": torch.tensor([[0, 1, 2, 0, 1], [0, 0, 0, 1, 2]])}, 4),
        ({"attention_mask": torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])}, 7),
    ],
)
def test_a_decoder_counts_the_labels_that_a_position_is_asked_for(make_model, words, packing, number):
    """Not the first token of a document: no position before it may know of it."""
    model, ids = make_model("decoder"), words(2, 5)
    labels = ids.clone()
    labels[0, 1] = -100
    batch = {"input_ids": ids, "labels": labels, **packing}
    numbers = model.count_items(batch)
    assert numbers == {"num_items_in_batch": number}
    torch.testing.assert_close(model(**batch, **numbers).loss, model(**batch).loss)
    assert batch.keys() == {"input_ids", "labels", *packing}
    shifted = {"input_ids": ids, "shift_labels": next_token_labels(labels)}
    assert model.count_items(shifted) == {"num_items_in_batch": 7}

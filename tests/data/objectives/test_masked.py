"""Masks: computed by hand, counted over many rows, and the same for a row in whatever batch it is."""

import numpy as np
import pytest
import torch

import tiny
from triptych.data import DatasetBatches, Division, TokenBudgetBatchSampler
from triptych.data.objectives.draws import row_draws
from triptych.data.objectives.masked import MaskedLMCollator
from triptych.data.objectives.masking import chosen, spans_as_units, tokens_of, words_as_units

MASK, WORDS = 4, np.arange(10, 60)
CLS, SEP = 5, 6


def row(words, example, first=10):
    """A row whose words have the given numbers of tokens, between [CLS] and [SEP]; its tokens count from `first`."""
    starts = [start for size in words for start in [1, *[0] * (size - 1)]]
    ids = [first + place % 50 for place in range(len(starts))]
    return {"input_ids": [CLS, *ids, SEP], "word_starts": [-1, *starts, -1], "example": example}


def collator(masking="token", **options):
    return MaskedLMCollator(MASK, WORDS, 0, masking=masking, seed=3, **options)


@pytest.fixture(scope="module")
def rows():
    """1,500 rows of 1 to 30 words, of 1 to 4 tokens each."""
    sizes = np.random.default_rng(0)
    return [row(sizes.integers(1, 5, sizes.integers(1, 31)), number) for number in range(1500)]


def masks_of(batch):
    return batch["labels"] != -100


def test_draws_belong_to_a_row():
    together = row_draws(1, 2, [7, 9], [3, 2])
    assert np.array_equal(together[:3], row_draws(1, 2, [7], [3]))
    assert np.array_equal(together[3:], row_draws(1, 2, [9], [5])[:2])
    others = [row_draws(*key, [example], [3])[0] for *key, example in ((1, 3, 7), (2, 2, 7), (2, 1, 7), (1, 2, 8))]
    assert len({together[0], *others}) == 5
    assert row_draws(0, 0, [], []).shape == (0,)
    assert abs(row_draws(0, 0, range(1000), [10] * 1000).mean() - 0.5) < 0.01


def test_words_by_hand():
    """Two rows: words of 1, 2 and 1 tokens, and a word of 2. The second word of the first row has the smallest key."""
    tokens = tokens_of(np.array([0, 0, 0, 0, 1, 1]), np.array([True, True, False, True, True, False]))
    units = words_as_units(tokens, np.array([0.5, 0.1, 0.9, 0.7, 0.2, 0.3]), np.zeros(6))
    assert units.of_token.tolist() == [1, 0, 0, 2, 3, 3]
    assert units.decides.tolist() == [0, 1, 2, 3, 4, 5]


def test_spans_by_hand():
    """Words a b c d e, the third of two tokens. Spans: from b two words (b c), from a three (a b c), from e one …"""
    tokens = tokens_of(np.zeros(6, dtype=int), np.array([True, True, True, False, True, True]))
    keys = np.array([0.2, 0.1, 0.9, 0.0, 0.8, 0.3])
    lengths = np.array([0.5, 0.3, 0.0, 0.0, 0.99, 0.99])  # 0.22 + 0.18 + 0.14 + …: three words, two, one, and many
    units = spans_as_units(tokens, keys, lengths)
    assert units.of_token.tolist() == [1, 0, 0, 0, 3, 2]
    assert units.decides.tolist() == [0, 1, 1, 1, 4, 5]


def test_the_last_unit_is_taken_by_chance():
    """Units of 2, 1 and 3 tokens in this order, and a budget of 0.25 · 6 = 1.5 tokens: three quarters of the first."""
    tokens = tokens_of(np.zeros(6, dtype=int), np.array([True, False, True, True, False, False]))
    units = words_as_units(tokens, np.array([0.1, 0, 0.2, 0.3, 0, 0]), np.zeros(6))
    for part, chance, taken in ((0.25, 0.74, 2), (0.25, 0.76, 0), (0.5, 0.9, 3), (0.75, 0.49, 6), (0.75, 0.51, 3)):
        assert chosen(tokens, units, part, np.array([chance])).sum() == taken
        assert chosen(tokens, units, part, np.array([chance])).tolist() == [place < taken for place in range(6)]


@pytest.mark.parametrize("masking", ["token", "word", "span"])
@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_the_parts_that_are_masked_replaced_and_kept(rows, masking, probability):
    originals = collator(masking, probability=1e-9)(rows)["input_ids"]
    batch = collator(masking, probability=probability)(rows)
    asked = masks_of(batch)
    maskable = originals >= 10
    assert not (asked & ~maskable).any()
    assert torch.equal(batch["labels"][asked], originals[asked])
    assert torch.equal(batch["input_ids"][~asked], originals[~asked])
    assert (asked.sum() / maskable.sum()).item() == pytest.approx(probability, rel=0.04)
    became = batch["input_ids"][asked]
    assert (became == MASK).float().mean().item() == pytest.approx(0.8, abs=0.02)
    replaced = (became != MASK) & (became != originals[asked])
    assert replaced.float().mean().item() == pytest.approx(0.1 * 49 / 50, abs=0.015)
    counts = torch.bincount(became[replaced], minlength=60)[10:]
    assert counts.min() > 0
    assert counts.sum() == replaced.sum()  # random tokens are never special


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_short_rows_have_their_part_of_masks(masking):
    short = [row([2, 1], number) for number in range(4000)]
    asked = masks_of(collator(masking)(short))
    assert asked[:, 1:4].float().mean().item() == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("masking", ["word", "span"])
def test_words_are_masked_as_a_whole(rows, masking):
    asked = masks_of(collator(masking)(rows))
    for each, of_row in zip(rows, asked.tolist(), strict=True):
        for place in np.flatnonzero(np.array(each["word_starts"]) == 0):
            assert of_row[place] == of_row[place - 1]


def test_spans_have_the_lengths_of_spanbert():
    """A row of 1,000 words in which 0.1 % are asked for has one span, or none: its mean length is 3.8 words."""
    rows = [row([1] * 400, number) for number in range(600)]
    batch = collator("span", probability=1 / 400)(rows)
    sizes = masks_of(batch).sum(-1)
    sizes = sizes[sizes > 0].double()
    # A span of n words goes beyond the budget of one token, so it is taken with the chance 1/n. The mean of the
    # lengths that are seen is therefore one over the mean of 1/n.
    chances = 0.2 * 0.8 ** np.arange(10)
    chances /= chances.sum()
    assert chances @ np.arange(1, 11) == pytest.approx(3.8, abs=0.05)
    assert sizes.max() <= 10
    assert sizes.mean().item() == pytest.approx(1 / (chances @ (1 / np.arange(1, 11))), rel=0.1)
    kinds = batch["input_ids"] == MASK
    for of_row, asked in zip(kinds, masks_of(batch), strict=True):  # one decision for a whole span
        assert len(set(of_row[asked].tolist())) <= 1


@pytest.mark.parametrize("masking", ["token", "word", "span"])
def test_a_row_has_the_same_masks_in_every_batch(rows, masking):
    collate = collator(masking)
    whole = collate(rows[:60])
    for cut in (rows[:60:7], rows[59:3:-5], [rows[31]]):
        part = collate(cut)
        for name in ("input_ids", "labels"):
            for each, of_row in zip(cut, part[name], strict=True):
                size = len(each["input_ids"])
                assert torch.equal(of_row[:size], whole[name][each["example"], :size])


def test_masks_are_new_in_every_epoch_and_for_every_seed(rows):
    collate = collator()
    first = collate(rows[:50])
    collate.set_epoch(1)
    assert not torch.equal(masks_of(collate(rows[:50])), masks_of(first))
    collate.set_epoch(0)
    assert torch.equal(collate(rows[:50])["input_ids"], first["input_ids"])
    other = MaskedLMCollator(MASK, WORDS, 0, seed=4)(rows[:50])
    assert not torch.equal(masks_of(other), masks_of(first))


def test_batches_give_the_epoch_to_the_collator_also_in_workers(rows):
    sizes = {"text": [len(each["input_ids"]) for each in rows[:200]]}

    def masks(epoch, **options):
        batches = DatasetBatches(rows[:200], TokenBudgetBatchSampler(sizes, 500), collator(), **options)
        batches.set_epoch(epoch)
        return [piece["labels"].flatten().tolist() for pieces in batches for piece in pieces]

    assert masks(1) == masks(1, num_workers=2)
    halves = masks(1, division=Division(accumulation_steps=2))
    assert sum(map(sum, masks(1))) - sum(map(sum, halves)) != 0  # another padding ...
    counted = [sorted(label for piece in of for label in piece if label != -100) for of in (masks(1), halves)]
    assert counted[0] == counted[1]  # ... and the same labels
    assert counted[0] != sorted(label for piece in masks(2) for label in piece if label != -100)


def test_an_empty_piece_adds_nothing():
    model = tiny.make_model("encoder").train()
    loss = model(**collator()([]), num_items_in_batch=5, skip_logits=True).loss
    loss.backward()
    assert loss.item() == 0
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_rows_without_words_are_not_masked():
    batch = collator()([{"input_ids": [CLS, SEP], "word_starts": [-1, -1], "example": 0}])
    assert batch["input_ids"].tolist() == [[CLS, SEP]]
    assert not masks_of(batch).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probability": 0.0}, r"mlm_probability=0.0 must be in \(0, 1\]"),
        ({"masking": "sentence"}, "masking='sentence' is unknown; choose one of token, word, span"),
    ],
)
def test_other_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        collator(**options)

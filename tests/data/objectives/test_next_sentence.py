"""Pairs of segments: by hand, against BERT's own loops, and counted over many documents."""

import random

import numpy as np
import pytest
from datasets import Dataset

from tiny import word_tokenizer
from triptych.data.objectives import next_sentence
from triptych.data.objectives.next_sentence import (
    PairFrame,
    Sentences,
    next_sentence_rows,
    pairs_of,
    truncated,
)


def documents(*sizes):
    """Documents whose sentences have the given numbers of tokens; all tokens count on, so each says where it stood."""
    tokens, columns = iter(range(10_000_000)), {"tokens": [], "word_starts": []}
    for of_document in sizes:
        sentences = [[next(tokens) for _ in range(size)] for size in of_document]
        columns["tokens"].append(sentences)
        columns["word_starts"].append([[1] * len(sentence) for sentence in sentences])
    return Dataset.from_dict(columns)


def built(rows, longest, seed=0):
    """The two segments of each pair, as lists of tokens, and its label."""
    sentences = Sentences.of(rows)
    return [
        (sentences.tokens[pair.first].tolist(), sentences.tokens[pair.second].tolist(), pair.label)
        for pair in pairs_of(sentences, longest, seed)
    ]


@pytest.fixture
def many():
    sizes = np.random.default_rng(1)
    return [sizes.integers(1, 16, sizes.integers(2, 25)).tolist() for _ in range(400)]


def test_pairs_by_hand_where_none_is_random(monkeypatch):
    """Runs of at least 6 tokens: 2 + 3 + 4, then 5 alone, which needs another document."""
    monkeypatch.setattr(next_sentence, "SHORT", 0.0)
    monkeypatch.setattr(next_sentence, "RANDOM", 0.0)
    first, *others = built(documents([2, 3, 4, 5], [9]), 9)
    assert first[2] == 0
    assert first[0] + first[1] == list(range(9))
    assert len(first[0]) in (2, 5)
    assert [(second[0], second[2]) for second in others[:1]] == [(list(range(9, 14)), 1)]
    assert others[0][1] in (list(range(14, 18)), list(range(15, 19)), *[list(range(n, n + 4)) for n in range(14, 20)])
    assert len(others) == 2


def test_a_random_pair_gives_the_rest_of_its_run_back(monkeypatch):
    """With random segments only, every sentence of a document is in the first segment of exactly one pair."""
    monkeypatch.setattr(next_sentence, "RANDOM", 1.1)
    pairs = built(documents([3] * 7, [3] * 5), 1000)
    assert sorted(token for first, _, _ in pairs for token in first) == list(range(36))
    for first, second, label in pairs:
        assert label == 1
        assert (first[0] < 21) != (second[0] < 21)


def by_the_loop_of_bert(first, second, longest, rng):
    """truncate_seq_pair of BERT's create_pretraining_data.py."""
    first, second = list(first), list(second)
    while len(first) + len(second) > longest:
        longer = first if len(first) > len(second) else second
        if rng.random() < 0.5:
            del longer[0]
        else:
            longer.pop()
    return first, second


@pytest.mark.parametrize("sizes", [(9, 4), (4, 9), (6, 6), (7, 6), (3, 3), (20, 1), (1, 20)])
def test_a_pair_that_is_too_long_is_cut_as_bert_cuts_it(sizes):
    segments = (0, sizes[0]), (100, 100 + sizes[1])
    longest, numbers = 8, np.random.default_rng(0)
    ours = [truncated(*segments, longest, numbers) for _ in range(2000)]
    rng = random.Random(0)
    theirs = [by_the_loop_of_bert(*(range(*segment) for segment in segments), longest, rng) for _ in range(2000)]
    assert {tuple(s.stop - s.start for s in pair) for pair in ours} == {tuple(map(len, pair)) for pair in theirs}
    for which in (0, 1):
        begins = [np.array([pair[which].start for pair in ours]), np.array([pair[which][0] for pair in theirs])]
        assert begins[0].mean() == pytest.approx(begins[1].mean(), abs=0.15)
        assert begins[0].std() == pytest.approx(begins[1].std(), abs=0.15)


def test_what_is_counted_over_many_documents(many):
    rows = documents(*many)
    edges = np.cumsum([0, *map(sum, many)])
    pairs = built(rows, 32)
    for first, second, label in pairs:
        assert 2 <= len(first) + len(second) <= 32
        assert first
        assert second
        for segment in (first, second):
            assert segment == list(range(segment[0], segment[-1] + 1))
        owners = [np.searchsorted(edges, segment[0], side="right") for segment in (first, second)]
        assert (owners[0] != owners[1]) == (label == 1)
        if label == 0:
            assert second[0] > first[-1]
    is_random = np.array([label for _, _, label in pairs])
    alone = sum(1 for each in many for _ in [each[-1]])  # each document can end in a run of one sentence
    assert len(pairs) > 1500
    assert 0.5 <= is_random.mean() <= 0.5 + alone / len(pairs)


def test_short_pairs_are_a_tenth_of_the_documents(many, monkeypatch):
    monkeypatch.setattr(next_sentence, "RANDOM", 0.0)
    rows = documents(*([[4] * 30] * 800))
    sizes = {}
    for first, second, label in built(rows, 100):
        if label == 0:
            sizes.setdefault(first[0] // 120, len(first) + len(second))
    short = np.array([size < 97 for size in sizes.values()])
    assert short.mean() == pytest.approx(0.1 * 92 / 99, abs=0.03)


def test_pairs_depend_on_the_seed_and_the_document_alone(many):
    assert built(documents(*many[:40]), 32, seed=3) == built(documents(*many[:40]), 32, seed=3)
    assert built(documents(*many[:40]), 32, seed=3) != built(documents(*many[:40]), 32, seed=4)


@pytest.mark.parametrize("sizes", [[[3, 4, 5]], [[3], [4], [5]]])
def test_documents_of_one_sentence_are_refused(sizes):
    with pytest.raises(ValueError, match=r"next_sentence needs several documents, .*--documents blank_lines"):
        built(documents(*sizes), 32)


def test_rows_have_the_special_tokens_and_types_of_the_tokenizer():
    from tokenizers.processors import TemplateProcessing

    tokenizer = word_tokenizer(["a", *"bcdefgh"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    frame = PairFrame.of(tokenizer)
    assert frame == PairFrame([2], [3], [3], [0, 0, 0, 1, 1])
    rows = next_sentence_rows(documents([2, 3, 4], [3, 5, 2]), tokenizer, 12, 2, seed=0)
    for row in rows:
        length = len(row["input_ids"])
        assert length <= 12
        ids, types = row["input_ids"], row["token_type_ids"]
        assert (ids[0], ids[-1]) == (2, 3)
        second = types.index(1)
        assert ids[second - 1] == 3
        assert types == [0] * second + [1] * (length - second)
        assert [place for place in range(length) if row["word_starts"][place] == -1] == [0, second - 1, length - 1]
    assert rows["example"] == list(range(len(rows)))
    with pytest.raises(ValueError, match="block_size=4 must be at least 5"):
        next_sentence_rows(documents([2, 3, 4], [3, 5, 2]), tokenizer, 4, 2, seed=0)
    with pytest.raises(ValueError, match=r"type_vocab_size=1: the tokenizer tells .* by the types 0 to 1"):
        next_sentence_rows(documents([2, 3, 4], [3, 5, 2]), tokenizer, 12, 1, seed=0)

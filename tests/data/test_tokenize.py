import logging

import pytest
from datasets import Dataset
from tokenizers import processors

from triptych.data import tokenize_pairs


@pytest.fixture
def pairs() -> Dataset:
    return Dataset.from_dict(
        {
            "source": ["the house", "the house is small", "the big house is"],
            "target": ["das Haus", "das Haus ist", "das groß Haus ist klein"],
        }
    )


def test_ids_and_lengths_of_both_sides(pairs, english, german):
    encoded = tokenize_pairs(pairs, english, german)
    assert encoded[:] == {
        "input_ids": [[4, 5, 3], [4, 5, 6, 7, 3], [4, 8, 5, 6, 3]],
        "labels": [[4, 5, 3], [4, 5, 6, 3], [4, 8, 5, 6, 7, 3]],
        "source_length": [3, 5, 5],
        "target_length": [3, 4, 6],
    }


def test_one_tokenizer_for_both_sides(pairs, english):
    assert tokenize_pairs(pairs, english)["labels"][0] == [1, 1, 3]


def test_an_overlong_pair_is_an_error_that_names_it(pairs, english, german):
    with pytest.raises(
        ValueError,
        match=r"row 3 \(the first of 1\) is too long: 5 source and 6 target tokens.*max_target_length=5.*drop",
    ):
        tokenize_pairs(pairs, english, german, max_source_length=5, max_target_length=5)
    with pytest.raises(ValueError, match=r"row 2 \(the first of 2\) is too long: 5 source"):
        tokenize_pairs(pairs, english, german, max_source_length=4)
    assert len(tokenize_pairs(pairs, english, german, max_source_length=5, max_target_length=6)) == 3


def test_drop_says_how_many(pairs, english, german, caplog):
    with caplog.at_level(logging.WARNING, logger="triptych"):
        encoded = tokenize_pairs(pairs, english, german, max_target_length=5, overlong="drop")
    assert encoded["target_length"][:] == [3, 4]
    assert "drop: 1 of 3 pairs longer than" in caplog.text
    with pytest.raises(ValueError, match=r"all 3 pairs are longer .*nothing is left"):
        tokenize_pairs(pairs, english, german, max_target_length=2, overlong="drop")


def test_truncation_keeps_the_end_of_the_sentence_and_the_tokenizer(pairs, english, german, caplog):
    saved = german.backend_tokenizer.to_str()
    with caplog.at_level(logging.WARNING, logger="triptych"):
        encoded = tokenize_pairs(pairs, english, german, max_source_length=5, max_target_length=4, overlong="truncate")
    assert encoded["labels"][:] == [[4, 5, 3], [4, 5, 6, 3], [4, 8, 5, 3]]
    assert encoded["input_ids"][2] == [4, 8, 5, 6, 3]
    assert encoded["target_length"][:] == [3, 4, 4]
    assert "truncate: 1 of 3 pairs" in caplog.text
    assert german.backend_tokenizer.to_str() == saved


def test_an_unknown_way_with_overlong_pairs(pairs, english):
    with pytest.raises(ValueError, match="overlong='cut' is unknown; choose from error, truncate, drop"):
        tokenize_pairs(pairs, english, overlong="cut")


def without_end(tokenizer):
    """The tokenizer, but as GPT-2's: it has an end token and does not use it."""
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    return tokenizer


def test_a_target_without_end_gets_it(pairs, english, german, caplog):
    encoded = tokenize_pairs(pairs, without_end(english), without_end(german))
    assert encoded["input_ids"][0] == [4, 5]
    assert encoded["labels"][:] == [[4, 5, 3], [4, 5, 6, 3], [4, 8, 5, 6, 7, 3]]
    assert encoded["target_length"][:] == [3, 4, 6]
    assert "does not end a target: its end token, id 3, is appended" in caplog.text
    assert tokenize_pairs(pairs, without_end(english))["labels"][0] == [1, 1, 3]


def test_a_target_without_end_that_is_cut_ends_all_the_same(pairs, english, german):
    options = {"max_target_length": 4, "overlong": "truncate"}
    encoded = tokenize_pairs(pairs, english, without_end(german), **options)
    assert encoded["labels"][:] == [[4, 5, 3], [4, 5, 6, 3], [4, 8, 5, 3]]
    assert encoded["target_length"][:] == [3, 4, 4]


def test_an_end_written_in_a_target_is_no_reason_to_leave_it_out(english, german):
    pairs = Dataset.from_dict({"source": ["the house"], "target": ["das </s>"]})
    assert tokenize_pairs(pairs, english, without_end(german))["labels"][0] == [4, 3, 3]
    assert tokenize_pairs(pairs, without_end(english), german)["labels"][0] == [4, 3, 3]


def test_a_tokenizer_without_end_token_makes_no_labels(pairs, english, german):
    german.eos_token = None
    with pytest.raises(ValueError, match="has neither eos_token nor sep_token, so no target would have an end"):
        tokenize_pairs(pairs, english, german)
    german.sep_token = "</s>"
    assert tokenize_pairs(pairs, english, german)["labels"][0] == [4, 5, 3]

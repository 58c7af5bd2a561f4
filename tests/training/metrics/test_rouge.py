"""ROUGE against cases that are computed by hand from the definition (Lin, 2004)."""

import pytest

from triptych.training.metrics import load_metric


def rouge(prediction, reference, **options):
    return load_metric("rouge").compute(predictions=[prediction], references=[reference], **options)


def f_score(common, predicted, wanted):
    return pytest.approx(2 * common / (predicted + wanted))


def test_by_hand():
    scores = rouge("The cat sat.", "the cat was there")
    assert list(scores) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    assert scores["rouge1"] == f_score(2, 3, 4)
    assert scores["rouge2"] == f_score(1, 2, 3)
    assert scores["rougeL"] == scores["rougeLsum"] == f_score(2, 3, 4)


def test_lines_are_sentences():
    """Lin (2004), section 3.2: the union of the common subsequences of both lines has four of five words."""
    prediction, reference = "w1 w3 w8 w9 w5\nw1 w2 w6 w7 w8", "w1 w2 w3 w4 w5"
    scores = rouge(prediction, reference)
    assert scores["rougeLsum"] == f_score(4, 10, 5)
    assert scores["rougeL"] == f_score(3, 10, 5)


def test_the_score_is_the_mean_over_the_rows_and_the_same_each_time():
    given = {"predictions": ["a b", "c d", "x"], "references": ["a b", "c e", "y"]}
    scores = [load_metric("rouge").compute(**given) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0]["rouge1"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_the_best_of_several_references_counts():
    scores = load_metric("rouge").compute(predictions=["a b"], references=[["x y", "a b"]])
    assert scores["rouge2"] == pytest.approx(1)


def test_letters_of_other_languages(caplog):
    assert rouge("кот", "кот")["rouge1"] == 0  # as published
    assert "ROUGE drops all letters but a to z, and 1 of 1 references have others" in caplog.text
    assert rouge("Кот спит", "кот ест", words="unicode")["rouge1"] == pytest.approx(0.5)


def test_english_endings():
    assert rouge("cats running", "cat runs")["rouge1"] == 0
    assert rouge("cats running", "cat runs", use_stemmer=True)["rouge1"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": "latin"}, "words='latin' is unknown; choose from ascii, unicode"),
        ({"words": "unicode", "use_stemmer": True}, "use_stemmer is for English words"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        rouge("a", "b", **options)

"""The scores of answers against cases that are computed by hand from the official definition."""

import pytest

from triptych.training.metrics import load_metric
from triptych.training.metrics.squad import normalized


def rows(*pairs):
    """Predictions and references of (prediction, answers) pairs."""
    predictions = [{"id": str(row), "prediction_text": text} for row, (text, _) in enumerate(pairs)]
    references = [
        {"id": str(row), "answers": {"text": list(answers), "answer_start": [0] * len(answers)}}
        for row, (_, answers) in enumerate(pairs)
    ]
    return {"predictions": predictions, "references": references}


def rows_with_chances(chances, *pairs):
    given = rows(*pairs)
    for prediction, chance in zip(given["predictions"], chances, strict=True):
        prediction["no_answer_probability"] = chance
    return given


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),
        ("a cat, an owl and the Another", "cat owl and another"),
        ("U.S. $5 (about)\n", "us 5 about"),
        ("théâtre the", "théâtre"),
        ("the", ""),
    ],
)
def test_words_that_are_compared(text, expected):
    assert normalized(text) == expected


def test_squad_by_hand():
    scores = load_metric("squad").compute(
        **rows(
            ("the cat sat", ["cat sat down"]),  # 2 words of 2 and of 3: F1 = 2·2 / 5
            ("In Oslo.", ["Bergen", "in oslo"]),  # the best of several answers
            ("dog", ["cat"]),
            ("a", ["the"]),  # no words on either side: the same, but without a word in common
        )
    )
    assert scores == {"exact_match": pytest.approx(50), "f1": pytest.approx(100 * (0.8 + 1 + 0 + 0) / 4)}


def test_words_that_repeat_count_as_often_as_both_have_them():
    scores = load_metric("squad").compute(**rows(("no no no", ["no no yes"])))  # 2 of 3 and of 3
    assert scores == {"exact_match": 0.0, "f1": pytest.approx(100 * 2 / 3)}


def test_squad_v2_by_hand():
    pairs = [("the cat sat", ["cat sat down"]), ("", ["Oslo"]), ("", []), ("Rome", []), ("a", ["the"])]
    scores = load_metric("squad_v2").compute(**rows_with_chances([0.1, 0.9, 0.8, 0.3, 0.0], *pairs))
    assert scores["exact"] == pytest.approx(100 * 2 / 5)  # the third, and the last, which has no words on either side
    assert scores["f1"] == pytest.approx(100 * (0.8 + 0 + 1 + 0 + 1) / 5)
    assert (scores["total"], scores["HasAns_total"], scores["NoAns_total"]) == (5, 3, 2)
    assert scores["HasAns_exact"] == pytest.approx(100 / 3)
    assert scores["HasAns_f1"] == pytest.approx(100 * 1.8 / 3)
    assert scores["NoAns_exact"] == scores["NoAns_f1"] == pytest.approx(50)
    # Two questions have no answer. The answer of the first row adds 0.8, that of the last adds 1, "Rome" takes 1 away.
    assert scores["best_f1"] == pytest.approx(100 * (2 + 1 + 0.8) / 5)
    assert scores["best_f1_thresh"] == pytest.approx(0.1)


def test_an_answer_that_is_improbable_counts_as_none():
    given = rows_with_chances([0.9, 0.2], ("Rome", []), ("Oslo", ["Oslo"]))
    assert load_metric("squad_v2").compute(**given)["exact"] == pytest.approx(50)
    assert load_metric("squad_v2").compute(**given, no_answer_threshold=0.5)["exact"] == pytest.approx(100)


def test_mistakes():
    given = rows(("a", ["b"]))
    given["references"][0]["id"] = "7"
    with pytest.raises(ValueError, match="row 1: the prediction is for '0', not for '7'"):
        load_metric("squad").compute(**given)
    with pytest.raises(ValueError, match="'0' has no answer; use the metric squad_v2"):
        load_metric("squad").compute(**rows(("a", [])))

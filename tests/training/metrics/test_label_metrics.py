"""The scores of labels, numbers and tags, by hand."""

import pytest

from triptych.training.metrics import load_metric

RIGHT, GIVEN = ["a", "a", "a", "b", "b", "c"], ["a", "a", "b", "b", "c", "a"]


def score(metric, predictions, references, **options):
    return load_metric(metric).compute(predictions=predictions, references=references, **options)


def test_classes_by_hand():
    assert score("accuracy", GIVEN, RIGHT) == {"accuracy": pytest.approx(3 / 6)}
    f1 = {"a": 2 * 2 / (3 + 3), "b": 2 * 1 / (2 + 2), "c": 0.0}  # 2 right / (predicted + true)
    assert score("f1", GIVEN, RIGHT, average=None) == {"f1": pytest.approx(f1)}
    assert score("f1", GIVEN, RIGHT) == {"f1": pytest.approx(sum(f1.values()) / 3)}
    # (tp·tn - fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn)), of "yes"
    predictions, references = ["yes"] * 3 + ["no"] * 4, ["yes", "yes", "no", "no", "no", "no", "yes"]
    assert score("matthews_correlation", predictions, references) == {
        "matthews_correlation": pytest.approx((2 * 3 - 1 * 1) / (3 * 3 * 4 * 4) ** 0.5)
    }


def test_numbers_may_stand_for_classes():
    numbers = [["abc".index(name) for name in side] for side in (GIVEN, RIGHT)]
    for metric in ("accuracy", "f1", "matthews_correlation"):
        assert score(metric, *numbers) == score(metric, GIVEN, RIGHT)


def test_several_labels_by_hand():
    references, predictions = [["a", "b"], ["c"], []], [["b"], ["c", "a"], []]
    assert score("accuracy", predictions, references) == {"accuracy": pytest.approx(1 / 3)}
    assert score("f1", predictions, references, average="micro") == {"f1": pytest.approx(2 * 2 / (3 + 3))}
    assert score("f1", predictions, references) == {"f1": pytest.approx((0 + 1 + 1) / 3)}


def test_correlations_by_hand():
    predictions, references = [1.0, 2.0, 4.0], [1.0, 3.0, 2.0]
    # deviations -4/3 -1/3 5/3 and -1 1 0
    expected = (4 / 3 - 1 / 3) / ((16 + 1 + 25) / 9 * 2) ** 0.5
    assert score("pearsonr", predictions, references) == {"pearsonr": pytest.approx(expected)}
    assert score("spearmanr", predictions, references) == {"spearmanr": pytest.approx(0.5)}  # ranks 1 2 3, 1 3 2
    assert score("mse", predictions, references) == {"mse": pytest.approx((0 + 1 + 4) / 3)}
    for metric in ("pearsonr", "spearmanr"):
        assert score(metric, [1.0, 1.0], [1.0, 2.0]) == {metric: 0.0}


def test_entities_by_hand():
    references = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "O"]]
    predictions = [["B-PER", "O", "O", "B-LOC"], ["B-ORG", "B-LOC", "O"]]
    result = score("seqeval", predictions, references)
    assert result["LOC"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "number": 2}
    assert result["PER"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 1}
    assert result["overall_precision"] == pytest.approx(2 / 4)
    assert result["overall_recall"] == pytest.approx(2 / 3)
    assert result["overall_f1"] == pytest.approx(2 * 2 / (4 + 3))
    assert result["overall_accuracy"] == pytest.approx(5 / 7)


def test_nothing_is_an_entity():
    assert score("seqeval", [["O", "O"]], [["O", "O"]])["overall_f1"] == 0.0

import pytest

from triptych.training.metrics import load_metric

REFERENCES = ["the cat sat on the mat .", "a dog barks loudly today ."]


def test_bleu_by_hand():
    """Papineni et al. (2002): one of two sentences is perfect, in the other one word of six differs."""
    predictions = ["the cat sat on the mat .", "a dog barks quietly today ."]
    result = load_metric("sacrebleu").compute(predictions=predictions, references=REFERENCES, tokenize="none")
    precisions = [12 / 13, (6 + 3) / 11, (5 + 1) / 9, (4 + 0) / 7]
    product = 1.0
    for precision in precisions:
        product *= precision
    assert result["precisions"] == pytest.approx([100 * p for p in precisions])
    assert result["score"] == pytest.approx(100 * product**0.25)
    assert result["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:none|")


def test_perfect_and_hopeless():
    for name in ("sacrebleu", "chrf"):
        metric = load_metric(name)
        assert metric.compute(predictions=REFERENCES, references=REFERENCES)["score"] == pytest.approx(100)
        assert load_metric(name).compute(predictions=["x", "y"], references=REFERENCES)["score"] < 5


def test_several_references():
    metric = load_metric("sacrebleu")
    references = [["no match at all here", REFERENCES[0]], [REFERENCES[1], "nor here either , sorry"]]
    result = metric.compute(predictions=REFERENCES, references=references)
    assert result["score"] == pytest.approx(100)
    assert "nrefs:2" in result["signature"]


def test_batches_as_evaluate_has_them():
    metric = load_metric("chrf")
    for text in REFERENCES:
        metric.add_batch(predictions=[text], references=[text])
    assert metric.compute()["score"] == pytest.approx(100)


def test_mistakes():
    with pytest.raises(ValueError, match=r"no metric 'blue'.*; choose one of .*chrf, .*sacrebleu"):
        load_metric("blue")
    with pytest.raises(ValueError, match=r"same number of references, got \[1, 2\]"):
        load_metric("sacrebleu").compute(predictions=["a", "b"], references=[["a"], ["b", "c"]])

import math

import pytest

from triptych.training.metrics import load_metric


def test_perplexities_by_hand():
    """Two texts with 3 + 1 tokens, 4 + 1 words and 9 + 2 bytes; the likelihood of both together is 2^-20."""
    texts = ["a bc d é", "zz"]
    nats = [16 * math.log(2), 4 * math.log(2)]
    result = load_metric("perplexity").compute(predictions=nats, tokens=[3, 1], references=texts)
    assert len("".join(texts).encode()) == 11
    assert result["loss"] == pytest.approx(5 * math.log(2))
    assert result["perplexity"] == pytest.approx(2**5)
    assert result["word_perplexity"] == pytest.approx(2**4)
    assert result["byte_perplexity"] == pytest.approx(2 ** (20 / 11))
    assert result["bits_per_byte"] == pytest.approx(20 / 11)


def test_batches_as_evaluate_has_them():
    metric = load_metric("perplexity")
    for loss, tokens, text in ((1.0, 2, "a b"), (3.0, 2, "c")):
        metric.add_batch(predictions=[loss], tokens=[tokens], references=[text])
    assert metric.compute()["loss"] == 1.0


def test_a_loss_beyond_all_numbers():
    result = load_metric("perplexity").compute(predictions=[5000.0], tokens=[1], references=["a"])
    assert result["perplexity"] == math.inf


def test_nothing_to_measure():
    with pytest.raises(ValueError, match="there are no words in the texts"):
        load_metric("perplexity").compute(predictions=[1.0], tokens=[1], references=[" "])

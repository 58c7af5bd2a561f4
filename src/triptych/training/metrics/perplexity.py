"""How well a language model predicts texts: per token, per word and per byte."""

import math
from typing import Any

import datasets
import evaluate

from ..objective import perplexity

INPUTS = """
Args:
    predictions: for each text, the sum of the negative log-likelihoods (in nats) of its tokens, the end included.
    tokens: for each text, the number of these tokens.
    references: the texts.
Returns:
    loss: the mean negative log-likelihood of a token, and perplexity: its exponential. They depend on the tokenizer.
    word_perplexity, byte_perplexity, bits_per_byte: the same sum, divided by the number of words (what stands between
    white space) or of bytes (UTF-8) of the texts. By these, models with different tokenizers can be compared.
"""


class Perplexity(evaluate.Metric):
    """The perplexities of texts, from the likelihoods that a model gives them."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Perplexity per token, per word and per byte, over all texts together.",
            citation="Jelinek et al. (1977), Perplexity, a measure of the difficulty of speech recognition tasks",
            inputs_description=INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "tokens": datasets.Value("int64"),
                    "references": datasets.Value("string"),
                }
            ),
        )

    def _compute(self, predictions: list[float], tokens: list[int], references: list[str]) -> dict[str, Any]:
        total = math.fsum(predictions)
        numbers = {
            "tokens": sum(tokens),
            "words": sum(len(text.split()) for text in references),
            "bytes": sum(len(text.encode()) for text in references),
        }
        if empty := [name for name, number in numbers.items() if not number]:
            raise ValueError(f"there are no {empty[0]} in the texts, so there is nothing to measure")
        per_token, per_word, per_byte = (total / number for number in numbers.values())
        return {
            "loss": per_token,
            "perplexity": perplexity(per_token),
            "word_perplexity": perplexity(per_word),
            "byte_perplexity": perplexity(per_byte),
            "bits_per_byte": per_byte / math.log(2),
        }

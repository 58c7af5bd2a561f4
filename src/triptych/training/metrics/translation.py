"""Scores of translations by sacrebleu (Post, 2018): BLEU with its signature, and chrF (Popović, 2015)."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

INPUTS = """
Args:
    predictions: list of translations.
    references: one reference for each translation, or the same number of references for each.
"""


def reference_streams(predictions: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> list[list]:
    """
    References as sacrebleu wants them: one list per reference, each as long as the predictions.

    Raises:
        ValueError: there is nothing to score, or translations differ in their numbers of references.
    """
    if not predictions:
        raise ValueError("predictions are empty: there is nothing to score")
    rows = [[reference] if isinstance(reference, str) else list(reference) for reference in references]
    counts = {len(row) for row in rows}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"every prediction needs the same number of references, got {sorted(counts)}")
    return [list(stream) for stream in zip(*rows, strict=True)]


class CorpusScore(evaluate.Metric):
    """What the two metrics have in common."""

    description = ""
    citation_key = ""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation_key,
            inputs_description=INPUTS,
            features=[
                datasets.Features({"predictions": text, "references": text}),
                datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
            ],
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )


class SacreBleu(CorpusScore):
    """Corpus BLEU of detokenised text. Options of `compute` are those of `sacrebleu.metrics.BLEU`."""

    description = "BLEU as sacrebleu computes it, with the signature that makes it comparable."
    citation_key = "Post (2018), A Call for Clarity in Reporting BLEU Scores"

    def _compute(self, predictions: list[str], references: list, **options: Any) -> dict[str, Any]:
        metric = BLEU(**options)
        score = metric.corpus_score(predictions, reference_streams(predictions, references))
        return {
            "score": score.score,
            "precisions": score.precisions,
            "bp": score.bp,
            "sys_len": score.sys_len,
            "ref_len": score.ref_len,
            "signature": str(metric.get_signature()),
        }


class ChrF(CorpusScore):
    """Corpus chrF. Options of `compute` are those of `sacrebleu.metrics.CHRF` (`word_order=2` is chrF++)."""

    description = "chrF, the F-score of character n-grams, as sacrebleu computes it."
    citation_key = "Popović (2015), chrF: character n-gram F-score for automatic MT evaluation"

    def _compute(self, predictions: list[str], references: list, **options: Any) -> dict[str, Any]:
        metric = CHRF(**options)
        score = metric.corpus_score(predictions, reference_streams(predictions, references))
        return {"score": score.score, "signature": str(metric.get_signature())}

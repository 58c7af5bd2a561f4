"""Scores of summaries by rouge-score, the published Python version of ROUGE (Lin, 2004)."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
from rouge_score import rouge_scorer
from rouge_score.tokenizers import Tokenizer

logger = logging.getLogger(__name__)

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
FOREIGN_LETTERS = re.compile(r"[^\W\d_a-zA-Z]")


class UnicodeWords(Tokenizer):
    """The words of any language that separates them: runs of letters, marks and digits, in lower case."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())


# The words that are compared. ROUGE itself knows the letters a to z and the digits, and drops everything else.
WORDS: dict[str, Callable[[], Tokenizer | None]] = {"ascii": lambda: None, "unicode": UnicodeWords}


class Rouge(evaluate.Metric):
    """ROUGE: the mean F-scores of all rows, 0 to 1.

    `rouge1` and `rouge2` compare words and pairs of words, `rougeL` the longest common subsequence, and `rougeLsum`
    does this line by line: each line of a text counts as a sentence. Where a row has several references, the one with
    the greatest score counts.

    The score is the mean itself. (`evaluate` draws samples with replacement, and gives the middle of their means,
    which differs a little each time.)
    """

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="ROUGE as rouge-score computes it: F-scores of n-grams and of common subsequences.",
            citation="Lin (2004), ROUGE: A Package for Automatic Evaluation of Summaries",
            inputs_description="predictions: texts; references: a text, or a list of texts, for each.",
            features=[
                datasets.Features({"predictions": text, "references": text}),
                datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
            ],
            reference_urls=["https://github.com/google-research/google-research/tree/master/rouge"],
        )

    def _compute(
        self,
        predictions: Sequence[str],
        references: Sequence[Any],
        rouge_types: Sequence[str] = ROUGE_TYPES,
        use_stemmer: bool = False,
        words: str = "ascii",
    ) -> dict[str, float]:
        """
        Args:
            rouge_types: `rouge1` to `rouge9`, `rougeL`, `rougeLsum`.
            use_stemmer: compare English words without their endings (Porter).
            words: `ascii`, as published: the letters a to z and digits; everything else is dropped. `unicode`: the
                letters of all languages.

        Raises:
            ValueError: there is nothing to score, or an option has an unknown value.
        """
        if not predictions:
            raise ValueError("predictions are empty: there is nothing to score")
        if words not in WORDS:
            raise ValueError(f"words={words!r} is unknown; choose from {', '.join(WORDS)}")
        if use_stemmer and words != "ascii":
            raise ValueError("use_stemmer is for English words; leave it out, or give words='ascii'")
        rows = [[reference] if isinstance(reference, str) else list(reference) for reference in references]
        if words == "ascii":
            warn_of_dropped_letters(rows)
        scorer = rouge_scorer.RougeScorer(list(rouge_types), use_stemmer=use_stemmer, tokenizer=WORDS[words]())
        scores = [scorer.score_multi(row, prediction) for row, prediction in zip(rows, predictions, strict=True)]
        return {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in rouge_types}


def warn_of_dropped_letters(rows: Sequence[Sequence[str]]) -> None:
    """Warns if the words of ROUGE lack letters of the references."""
    number = sum(any(FOREIGN_LETTERS.search(text) for text in row) for row in rows)
    if number:
        logger.warning(
            "ROUGE drops all letters but a to z, and %d of %d references have others; words='unicode' (--rouge_words "
            "unicode) keeps them",
            number,
            len(rows),
        )

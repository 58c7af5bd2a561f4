"""From the scores of the tokens in all windows of a context to the best answers, which are parts of the context."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .windows import Window, trimmed


@dataclass(frozen=True)
class Answer:
    """A part of the context.

    Attributes:
        text: `context[start:end]`.
        start, end: characters of the context; 0 twice for no answer.
        score: the sum of the two logits, that of its first token and that of its last.
    """

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answers:
    """What the windows of one question give.

    Attributes:
        best: different answers, the best first; none, where the context has no tokens.
        no_answer_score: the score of "no answer": the smallest of all windows, because one window with an answer is
            enough (Devlin et al. 2018, section 4.3).
        log_total: the logarithm of the sum of exp(score) over all pairs of a first and a last token in all windows.
    """

    best: list[Answer]
    no_answer_score: float
    log_total: float

    @property
    def no_answer(self) -> Answer:
        """The answer that says there is none."""
        return Answer("", 0, 0, self.no_answer_score)

    def chosen(self, threshold: float | None = None) -> Answer:
        """The best answer, or `no_answer`.

        Args:
            threshold: there is no answer if its score is greater than that of the best answer by more than this; None:
                every question is answered.
        """
        if not self.best:
            return self.no_answer
        is_empty = threshold is not None and self.no_answer_score - self.best[0].score > threshold
        return self.no_answer if is_empty else self.best[0]

    def probability(self, answer: Answer) -> float:
        """The part of an answer in the sum over all pairs of tokens, in [0, 1]."""
        return float(np.exp(answer.score - self.log_total))


def find_answers(
    context: str,
    windows: Sequence[Window],
    start_logits: Sequence[np.ndarray],
    end_logits: Sequence[np.ndarray],
    max_answer_length: int,
    number: int = 20,
) -> Answers:
    """The best answers over all windows of a context; no pair of tokens is left out of the search.

    Args:
        start_logits, end_logits: the scores of the tokens of each window as first and as last token, (T,) each.
        max_answer_length: the most tokens of an answer.
        number: how many answers are wanted.
    """
    found: dict[tuple[int, int], float] = {}
    totals, without = [], []
    for window, firsts, lasts in zip(windows, start_logits, end_logits, strict=True):
        firsts, lasts = firsts.astype(np.float64), lasts.astype(np.float64)
        without.append(firsts[window.no_answer] + lasts[window.no_answer])
        scored = (
            [*window.positions, window.no_answer] if window.no_answer not in window.positions else window.positions
        )
        totals.append((log_sum(firsts[scored]), log_sum(lasts[scored])))
        for first, last, score in best_pairs(
            firsts[window.positions], lasts[window.positions], max_answer_length, number
        ):
            start, end = trimmed(context, int(window.starts[first]), int(window.ends[last]))
            if start < end:
                found[start, end] = max(score, found.get((start, end), score))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:number]
    log_total = sum(log_sum(np.asarray(side)) for side in zip(*totals, strict=True))
    best = [Answer(context[start:end], start, end, score) for (start, end), score in ranked]
    return Answers(best, float(min(without)), float(log_total))


def best_pairs(firsts: np.ndarray, lasts: np.ndarray, longest: int, number: int) -> list[tuple[int, int, float]]:
    """The pairs (first, last) of tokens with the greatest sums: 0 <= last - first < `longest`; of (n,) and (n,)."""
    if not len(firsts):
        return []
    longest = min(longest, len(firsts))
    behind = np.concatenate([lasts, np.full(longest - 1, -np.inf)])
    sums = firsts[:, None] + np.lib.stride_tricks.sliding_window_view(behind, longest)  # (n, longest)
    flat = sums.ravel()
    chosen = np.argpartition(-flat, number)[:number] if number < len(flat) else np.arange(len(flat))
    places = ((*divmod(int(place), longest), float(flat[place])) for place in chosen)
    return [(first, first + more, score) for first, more, score in places if np.isfinite(score)]


def log_sum(values: np.ndarray) -> float:
    """The logarithm of the sum of the exponentials."""
    greatest = values.max()
    return float(greatest + np.log(np.exp(values - greatest).sum()))

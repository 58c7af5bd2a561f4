"""Choosing the length penalty of beam search by the validation data, as the authors of the paper did (section 6.1)."""

from collections.abc import Callable

from ..data.quantities import counted

USUAL = 0.6  # that of the paper
# Small ones give short outputs, and great ones long outputs. The paper's is tried first, and stays if none is better.
CANDIDATES = (USUAL, 0.0, 0.3, 1.0, 1.5, 2.0)


def choose_length_penalty(score: Callable[[float], float], name: str, number: int) -> tuple[float, str]:
    """Returns the penalty of `CANDIDATES` with the best score, and a line that tells all scores.

    Args:
        score: the score of the outputs with a penalty; a greater one is better.
        name: what the score is called.
        number: the number of rows for which there are outputs.
    """
    scores = {penalty: score(penalty) for penalty in CANDIDATES}
    best = max(scores, key=lambda penalty: scores[penalty])  # the first of equal ones
    listed = ", ".join(f"{penalty}: {scores[penalty]:.4g}" for penalty in sorted(scores))
    rows = counted(number, "validation rows", one="validation row")
    if len(set(scores.values())) == 1:
        return best, f"length penalty {best}, the usual one: {name} on {rows} is the same for all ({scores[best]:.4g})"
    return best, f"length penalty {best}, chosen by {name} on {rows} ({listed})"

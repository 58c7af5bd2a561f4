"""Splitting a text that is too long for a model into pieces that fit."""

import re
from collections.abc import Callable

# The places where a text may be cut, the best first: after a sentence, after a clause, between words, anywhere.
_CUTS = (
    re.compile(r"(?<=[.!?…])[\"'”“’»)\]]*\s+|(?<=[。！？])"),
    re.compile(r"(?<=[,;:—–])\s+|(?<=[、，；：])"),
    re.compile(r"\s+"),
    re.compile(r"(?<=.)", re.DOTALL),
)


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Splits `text` into pieces that fit, each as long as possible; only white space between the pieces is lost.

    Args:
        fits: whether the model can take a text. If it can take a text, it can take every beginning of the text.

    Returns:
        The pieces. A text that fits is one piece. Others are cut after sentences if these fit; otherwise after
        clauses, or between words, or anywhere. A single character that does not fit is a piece, too.
    """
    return [text] if fits(text) else _split(text.strip(), fits, _CUTS)


def _split(text: str, fits: Callable[[str], bool], cuts: tuple[re.Pattern[str], ...]) -> list[str]:
    if not cuts:
        return [text]
    ends = [end for match in cuts[0].finditer(text) if (end := match.end()) < len(text)] + [len(text)]
    pieces: list[str] = []
    done = start = 0  # the numbers of ends and of characters that are in the pieces so far
    while done < len(ends):
        count = _most(text, start, ends[done:], fits)
        taken = max(count, 1)
        part = text[start : ends[done + taken - 1]].strip()
        pieces += [part] if count else _split(part, fits, cuts[1:])
        done, start = done + taken, ends[done + taken - 1]
    return [piece for piece in pieces if piece]


def _most(text: str, start: int, ends: list[int], fits: Callable[[str], bool]) -> int:
    """The number of `ends` that a piece of `text` from `start` can include; doubling and halving steps find it."""

    def reaches(count: int) -> bool:
        return count <= len(ends) and fits(text[start : ends[count - 1]].strip())

    count, step = 0, 1
    while reaches(count + step):
        count, step = count + step, 2 * step
    while step > 1:
        step //= 2
        if reaches(count + step):
            count += step
    return count

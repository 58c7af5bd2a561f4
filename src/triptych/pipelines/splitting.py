"""A text that is too long for a model, in pieces that are not."""

import re
from collections.abc import Callable

# Where a text is cut, the best place first: behind a sentence, behind a part of one, between words, anywhere.
_CUTS = (
    re.compile(r"(?<=[.!?…])[\"'”“’»)\]]*\s+|(?<=[。！？])"),
    re.compile(r"(?<=[,;:—–])\s+|(?<=[、，；：])"),
    re.compile(r"\s+"),
    re.compile(r"(?<=.)", re.DOTALL),
)


def split_text(text: str, fits: Callable[[str], bool]) -> list[str]:
    """`text` in pieces that fit, each as long as possible; nothing but white space between them is lost.

    Args:
        fits: whether the model can hold a text; if it can, it can hold every beginning of it.

    Returns:
        Pieces, cut behind sentences where these fit, else behind clauses, else between words, else anywhere. A single
        character that does not fit is a piece all the same. A text that fits is returned as it is.
    """
    return [text] if fits(text) else _split(text.strip(), fits, _CUTS)


def _split(text: str, fits: Callable[[str], bool], cuts: tuple[re.Pattern[str], ...]) -> list[str]:
    if not cuts:
        return [text]
    ends = [end for match in cuts[0].finditer(text) if (end := match.end()) < len(text)] + [len(text)]
    pieces: list[str] = []
    done = start = 0  # how many of the ends, and of the characters, lie in the pieces
    while done < len(ends):
        count = _most(text, start, ends[done:], fits)
        taken = max(count, 1)
        part = text[start : ends[done + taken - 1]].strip()
        pieces += [part] if count else _split(part, fits, cuts[1:])
        done, start = done + taken, ends[done + taken - 1]
    return [piece for piece in pieces if piece]


def _most(text: str, start: int, ends: list[int], fits: Callable[[str], bool]) -> int:
    """How many of the `ends` a piece of `text` from `start` can reach, or 0; found without trying far too much."""

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

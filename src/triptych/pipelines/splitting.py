"""Splitting a text that is too long for a model into pieces that fit, and joining what the model makes of them."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

PARAGRAPH = re.compile(r"[^\S\n]*\n(?:[^\S\n]*\n)+[^\S\n]*")  # the white space between two paragraphs: a blank line
# The end of a sentence: a stop, closing quotes or brackets, and white space; or a stop of a script without spaces.
STOPS = ".!?…؟۔।॥։።။"
SENTENCE = re.compile(rf"(?<=[{STOPS}])[\"'”“’»›)\]]*\s+|[。！？｡．]+[」』）】〉》”’»\"')]*(?!\d)")
CLAUSE = re.compile(r"(?<=[,;:—–،؛၊])\s+|(?<=[、，；：])")
WORD = re.compile(r"\s+")
# A point behind these words ends no sentence: titles, and words that stand before a name, a number or an example.
ABBREVIATION = re.compile(
    r"(adm|approx|art|bsp|bzw|ca|capt|cf|cmdr|col|cpl|dipl|dr|dra|eds?|eqs?|evtl|figs?|gen|ggf|gov|hon|hrn?|inkl|jr|lt|"
    r"maj|max|messrs|mio|mlle|mme|mrd|mr|mrs|ms|mt|nos|nr|pp|prof|pvt|ref|rep|resp|rev|sec|sen|sgt|sog|sra?|srta|sta|"
    r"tab|tel|univ|usw|vgl|vols?|vs|zzgl)\.",
    re.IGNORECASE,
)
LONGEST = 20  # the most characters that are looked at before a point
# One letter or several with points ("J.", "U.S.", "z.B.", "e.g."), and ordinal numbers of German ("am 3. Mai").
INITIALS = re.compile(r"(?:[^\W\d_]\.)+|\d{1,2}\.")
# Scripts that have no spaces between sentences: Chinese and Japanese with their punctuation.
UNSPACED = (
    "\u2e80-\u2fdf\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff"
)
BETWEEN_SENTENCES = re.compile(f"[{UNSPACED}]")
# Scripts that have no spaces between words: these, and Thai, Lao, Tibetan, Burmese and Khmer.
BETWEEN_WORDS = re.compile(f"[{UNSPACED}\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]")
JOINERS = "\u200c\u200d"  # characters that bind the two around them


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: the part, without white space around it.
        gap: the white space between the piece before and this one; " " where two words meet without white space, as
            in Chinese; "" for the first piece, and where a word is cut.
    """

    text: str
    gap: str = ""


def split_text(text: str, fits: Callable[[str], bool]) -> list[Piece]:
    """Splits `text` into pieces that fit, each as long as possible; only white space between the pieces is lost.

    Args:
        fits: whether the model can take a text. If it can take a text, it can take every beginning of the text.

    Returns:
        The pieces. A text that fits is one piece, as it is. In every other text, a piece is in one paragraph; blank
        lines divide paragraphs. A paragraph that does not fit is cut after sentences if these fit; otherwise after
        clauses, or between words, or anywhere. A single character that does not fit is a piece, too.
    """
    if fits(text):
        return [Piece(text)]
    pieces: list[Piece] = []
    done = len(text)
    for start, end in _paragraphs(text):
        for first, last in _split(text, start, end, fits, _CUTS):
            gap = text[done:first] or (" " if first and BETWEEN_WORDS.match(text[first - 1]) else "")
            pieces.append(Piece(text[first:last], gap if pieces else ""))
            done = last
    return pieces or [Piece(text)]


def join_texts(texts: Sequence[str], gaps: Sequence[str]) -> str:
    """One text from what the model made of pieces.

    Blank lines between paragraphs stay as they were. All other pieces get a space between them, or nothing where the
    text is Chinese or Japanese, or where a word was cut.

    Args:
        texts: one for each piece; empty ones are left out.
        gaps: the `gap` of each piece.
    """
    joined = gap = ""
    for text, before in zip(texts, gaps, strict=True):
        gap = max(gap, before, key=_strength)
        if text.strip():
            joined = joined + _between(joined, gap) + text.strip()
            gap = ""
    return joined


def _strength(gap: str) -> int:
    """How strongly a gap divides: not at all, as a space, as a blank line."""
    return bool(gap) + bool(PARAGRAPH.search(gap))


def _between(left: str, gap: str) -> str:
    """What stands behind the text `left`, before the next one."""
    if not left or PARAGRAPH.search(gap):
        return gap if left else ""
    return " " if gap and not BETWEEN_SENTENCES.match(left[-1]) else ""


def sentence_ends(text: str) -> Iterator[int]:
    """Where the next sentence begins, for each end of a sentence in a paragraph."""
    is_small = text.islower()  # in a text without capitals, a small letter can begin a sentence
    for match in SENTENCE.finditer(text):
        is_spaced = match[0][-1].isspace()
        before, following = text[max(0, match.start() - LONGEST) : match.start()], text[match.end() : match.end() + 1]
        goes_on = following.islower() and not is_small  # '"Who?" he asked.'
        if not is_spaced or not (goes_on or _is_abbreviated(before)):
            yield match.end()


def _is_abbreviated(text: str) -> bool:
    """Whether a text ends with a point that belongs to its last word."""
    if not text.endswith("."):
        return False
    word = re.split(r"[\s(\[\"'“„«‘]", text)[-1]
    return any(pattern.fullmatch(word) for pattern in (INITIALS, ABBREVIATION))


def _ends_of(pattern: re.Pattern[str]) -> Callable[[str], Iterator[int]]:
    return lambda text: (match.end() for match in pattern.finditer(text))


def _characters(text: str) -> Iterator[int]:
    """The places between characters; an accent or another mark stays with its letter."""
    for place in range(1, len(text)):
        is_bound = unicodedata.category(text[place])[0] == "M" or text[place] in JOINERS or text[place - 1] in JOINERS
        if not is_bound:
            yield place


# The places where a text may be cut, the best first: after a sentence, after a clause, between words, anywhere.
_CUTS: tuple[Callable[[str], Iterator[int]], ...] = (sentence_ends, _ends_of(CLAUSE), _ends_of(WORD), _characters)


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in PARAGRAPH.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _split(
    text: str, start: int, end: int, fits: Callable[[str], bool], cuts: Sequence[Callable[[str], Iterator[int]]]
) -> Iterator[tuple[int, int]]:
    """Where the pieces of `text[start:end]` begin and end."""
    start, end = _trimmed(text, start, end)
    if start == end:
        return
    if not cuts or fits(text[start:end]):
        yield start, end
        return
    ends = [start + place for place in cuts[0](text[start:end]) if place < end - start] + [end]
    done = 0  # the number of ends that are in the pieces so far
    while done < len(ends):
        count = _most(text, start, ends[done:], fits)
        reached = ends[done + max(count, 1) - 1]
        if count:
            first, last = _trimmed(text, start, reached)
            if first < last:
                yield first, last
        else:
            yield from _split(text, start, reached, fits, cuts[1:])
        done, start = done + max(count, 1), reached


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The part from `start` to `end` without white space around it."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip()) if part.strip() else start


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

"""What the columns of a row hold: texts, labels, lists of them, numbers, answers. Each kind is an entry of `KINDS`.

A kind knows how a value is read that has a type (JSON, parquet, data sets), how it is read from the text of a field
(tsv, csv), and as which type of arrow it is kept.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from ..quantities import counted

UNSEEN = ("Cc", "Cf")  # the categories of Unicode of control and format characters, such as a zero-width space
WHOLE = re.compile(r"[+-]?[0-9]+")
DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class WrongValue(ValueError):
    """A value is not of its kind; the message says only in which way, as in "is 7, not text"."""


def shown(value: Any) -> str:
    """The beginning of a value, for a message."""
    return f"{value!r:.60}"


def text(value: Any) -> str:
    """The value, if it is text.

    Raises:
        WrongValue: it is not, or it holds what no text can hold.
    """
    if not isinstance(value, str):
        raise WrongValue(f"is {shown(value)}, not text")
    if "\0" in value:
        raise WrongValue("holds a NUL character; this is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise WrongValue("holds half of a surrogate pair, which is not a character") from None
    return value


def trimmed(value: str) -> str:
    """The text without white space, and other characters that nobody sees, at its ends."""
    start, end = 0, len(value)
    while start < end and is_unseen(value[start]):
        start += 1
    while start < end and is_unseen(value[end - 1]):
        end -= 1
    return value[start:end]


def is_unseen(character: str) -> bool:
    """Whether a character is white space, or has no look at all."""
    return character.isspace() or category(character) in UNSEEN


def name(value: Any) -> str:
    """The name of a label: text, or a whole number or a truth value as JSON writes it.

    It is `trimmed`: a label that differs from another one only in what nobody sees would be a class of its own.
    """
    if isinstance(value, bool | int):
        return json.dumps(value)
    if not isinstance(value, str):
        raise WrongValue(f"is {shown(value)}, not the name of a label (text or a whole number)")
    return trimmed(text(value))


def name_in_list(value: Any) -> str:
    """The name of a label in a list, where none may be blank."""
    if not (found := name(value)):
        raise WrongValue(f"holds the label {shown(value)}, which is blank")
    return found


LARGEST = 3.4028234663852886e38  # of float32


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(f"is {shown(value)}, not a number")
    if not math.isfinite(value):
        raise WrongValue(f"is {value}, which is not a finite number")
    if abs(value) > LARGEST:
        raise WrongValue(f"is {value}, which is beyond the numbers of float32, in which models compute")
    return float(value)


def number_of_text(field: str) -> float:
    """The number that a text writes, such as 3, -0.5 or 1e-3."""
    if not DECIMAL.fullmatch(field.strip()):
        raise WrongValue(f"is {shown(field)}, not a number")
    return number(float(field))


def each(read: Callable[[Any], Any], called: str) -> Callable[[Any], tuple[Any, ...]]:
    """What reads a list of values, each by `read`."""

    def read_list(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise WrongValue(f"is {shown(value)}, not {called}")
        return tuple(read(item) for item in value)

    return read_list


def of_json(read: Callable[[Any], Any], called: str) -> Callable[[str], Any]:
    """What reads the text of a field that holds JSON, by `read`."""

    def read_field(field: str) -> Any:
        try:
            value = json.loads(field)
        except (ValueError, RecursionError):
            raise WrongValue(f"is {shown(field)}, not {called} in JSON") from None
        return read(value)

    return read_field


def answers(value: Any) -> dict[str, tuple[Any, ...]]:
    """Answers as in SQuAD: {"text": texts, "answer_start": the character at which each begins in its context}.

    A list of objects with one text and one number each has the same meaning.
    """
    called = 'answers such as {"text": ["Paris"], "answer_start": [17]}'
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        keys = ("text", "answer_start")
        if not all(set(keys) <= item.keys() for item in value):
            raise WrongValue(f"is {shown(value)}, not {called}")
        value = {key: [item[key] for item in value] for key in keys}
    if not isinstance(value, dict) or not {"text", "answer_start"} <= value.keys():
        raise WrongValue(f"is {shown(value)}, not {called}")
    texts, starts = each(text, "a list of texts")(value["text"]), value["answer_start"]
    if not isinstance(starts, list) or not all(type(start) is int and start >= 0 for start in starts):
        raise WrongValue(f"has answer_start {shown(starts)}, not a list of numbers of characters")
    if len(texts) != len(starts):
        raise WrongValue(f"has {counted(len(texts), 'texts')}, but {counted(len(starts), 'numbers')} answer_start")
    return {"text": texts, "answer_start": tuple(starts)}


def label_evidence(value: Any) -> str:
    """Which labels a value of unknown kind can be; a key of `PERMITTED`."""
    if isinstance(value, list):
        NAMES(value)
        return "a list"
    if isinstance(value, float):
        return "a decimal number"
    name(value)
    return "a whole number" if type(value) is int else "a name"


def label_evidence_of_text(field: str) -> str:
    """Which labels the text of a field can be; a key of `PERMITTED`."""
    if WHOLE.fullmatch(field.strip()):
        return "a whole number"
    if DECIMAL.fullmatch(field.strip()):
        return "the text of a decimal number"
    try:
        NAMES_OF_JSON(field)
    except WrongValue:
        return "a name"
    return "the text of a list"


def as_it_stands(field: str) -> str:
    """The text of a field; the reader of the file has checked it."""
    return field


@dataclass(frozen=True)
class Kind:
    """One kind of values.

    Attributes:
        read: makes the value of one that has a type; it raises `WrongValue`.
        parse: makes the value of the text of a field; it raises `WrongValue`.
        arrow: makes the type of arrow, given pyarrow.
        is_empty: whether a row with this value is an empty row. (Where a row has only one text, it never is.)
    """

    read: Callable[[Any], Any]
    parse: Callable[[str], Any]
    arrow: Callable[[Any], Any]
    is_empty: Callable[[Any], bool] = lambda value: False


def is_blank(value: str) -> bool:
    """Whether a text has nothing but white space."""
    return not value.strip()


NAMES = each(name_in_list, "a list of labels")
NAMES_OF_JSON = of_json(NAMES, "a list of labels")
KINDS = {
    "text": Kind(text, as_it_stands, lambda pa: pa.string(), is_blank),
    "texts": Kind(
        each(text, "a list of texts"),
        of_json(each(text, "a list of texts"), "a list of texts"),
        lambda pa: pa.list_(pa.string()),
        lambda value: not value,
    ),
    "name": Kind(name, name, lambda pa: pa.string(), is_blank),
    "names": Kind(NAMES, NAMES_OF_JSON, lambda pa: pa.list_(pa.string())),
    "number": Kind(number, number_of_text, lambda pa: pa.float64()),
    "answers": Kind(
        answers,
        of_json(answers, "answers"),
        lambda pa: pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))]),
    ),
    # Only in `columns()`: `resolve_columns` replaces it by name, names or number, whichever all rows allow.
    "label": Kind(label_evidence, label_evidence_of_text, lambda pa: pa.string()),
}
"""The kinds of columns, by the word for each."""

# What a label that was looked at allows. A whole number can be the name of a class; so can all that is only text.
PERMITTED = {
    "a name": {"name"},
    "a whole number": {"name", "number"},
    "a decimal number": {"number"},
    "a list": {"names"},
    "the text of a decimal number": {"name", "number"},
    "the text of a list": {"name", "names"},
}


def kind_of_labels(seen: Mapping[str, str], column: str) -> str:
    """The kind of labels, `name`, `names` or `number`, of what was seen in all rows.

    Args:
        seen: keys of `PERMITTED` → the first place of each.

    Raises:
        ValueError: no kind allows all of them.
    """
    allowed, places = {"name", "names", "number"}, list(seen.items())
    for position, (what, place) in enumerate(places):
        if not allowed & PERMITTED[what]:
            before, earlier = next((w, p) for w, p in places[:position] if not PERMITTED[w] & PERMITTED[what])
            raise ValueError(
                f"{place}: {column!r} is {what}, but at {earlier} it is {before}. Labels are either names, or lists "
                "of names, or numbers; write all of them in the same way"
            )
        allowed &= PERMITTED[what]
    if "number" in allowed and seen.keys() & {"a decimal number", "the text of a decimal number"}:
        return "number"
    return "names" if seen and "names" in allowed else "name"


@dataclass(frozen=True)
class Column:
    """A wanted column.

    Attributes:
        name: its name in the file.
        kind: what it holds, a key of `KINDS`.
        optional: whether a file may lack it; then its values are None. (In `columns()`, `resolve_columns` decides it.)
    """

    name: str
    kind: str = "text"
    optional: bool = False

    @property
    def values(self) -> Kind:
        """What is done with its values."""
        return KINDS[self.kind]

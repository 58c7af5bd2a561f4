"""Reading the nested JSON files of SQuAD, versions 1.1 and 2.0: articles of paragraphs of questions.

{"data": [{"title": …, "paragraphs": [{"context": …, "qas": [{"id": …, "question": …, "answers": [
    {"text": …, "answer_start": …}], "is_impossible": false}]}]}]}
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..quantities import counted
from .json_objects import parse_json, skip_space
from .lines import decoded, opened
from .rows import Columns, Row, checked, missing_column

if TYPE_CHECKING:
    from ..readers import FileOptions

BEGINNING = re.compile(r'\s*\{\s*("version"\s*:\s*"[^"]*"\s*,\s*)?"data"\s*:\s*\[\s*\{\s*"(title|paragraphs)"\s*:')
LOOKED_AT = 4096  # the number of bytes in which a nested file shows what it is
COLUMNS = ("id", "title", "question", "context", "answers")


def is_nested(path: str) -> bool:
    """Whether a JSON file holds articles with paragraphs, as SQuAD's do, and not a row in each object."""
    with opened(path) as file:
        beginning = file.read(LOOKED_AT).decode("utf-8-sig", errors="replace")
    return BEGINNING.match(beginning) is not None


def read_squad(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The questions of a file, each with its number, and the wanted ones of `COLUMNS`.

    `answers` is {"text": [...], "answer_start": [...]}, empty for a question that `is_impossible`.

    Raises:
        ValueError: the JSON is invalid, or something is missing or is not what SQuAD's files have; the message names
            the place.
    """
    for option, column in columns.items():
        if column.name not in COLUMNS:
            raise missing_column(path, column.name, option, COLUMNS)
    with opened(path) as file:
        text = decoded(file.read(), path)
    whole, end = parse_json(text, skip_space(text, 0), path, 1)
    if skip_space(text, end) < len(text):
        raise ValueError(f"{path}: more text follows the object of a nested SQuAD file")
    for number, (place, row) in enumerate(questions(whole, path), 1):
        yield number, tuple(checked(row[column.name], column, place) for column in columns.values())


def questions(whole: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The questions of all articles: the place of each, and its row of `COLUMNS`."""
    for a, article in enumerate(member(whole, "data", list, path)):
        of_article = f"{path}: data[{a}]"
        for p, paragraph in enumerate(member(article, "paragraphs", list, of_article)):
            of_paragraph = f"{of_article}.paragraphs[{p}]"
            context = member(paragraph, "context", str, of_paragraph)
            for q, question in enumerate(member(paragraph, "qas", list, of_paragraph)):
                place = f"{of_paragraph}.qas[{q}]"
                yield (
                    place,
                    {
                        "id": member(question, "id", (str, int), place),
                        "title": article.get("title"),
                        "question": member(question, "question", str, place),
                        "context": context,
                        "answers": answers(question, place),
                    },
                )


def answers(question: dict[str, Any], place: str) -> list[Any]:
    """The answers to a question; a question that `is_impossible` has none.

    Raises:
        ValueError: the file says both that there is no answer and which it is, or neither.
    """
    given: list[Any] = member(question, "answers", list, place)
    impossible = question.get("is_impossible", False)
    if impossible and given:
        raise ValueError(f"{place} is_impossible, but has {counted(len(given), 'answers')}; one of the two is wrong")
    if not given and not impossible:
        raise ValueError(
            f'{place} has no answers; if there is none in its context, it needs "is_impossible": true, as in SQuAD 2.0'
        )
    return given


def member(value: Any, key: str, kind: Any, place: str) -> Any:
    """The value of a key; raises ValueError if it is missing or is of another kind."""
    if not isinstance(value, dict) or key not in value:
        found = f"the keys {', '.join(map(repr, value))}" if isinstance(value, dict) else f"{value!r:.60}"
        raise ValueError(f"{place} needs the key {key!r}, as SQuAD's files have it, but is {found}")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        raise ValueError(f"{place}: {key!r} is {found!r:.60}, which is not what SQuAD's files have there")
    return found

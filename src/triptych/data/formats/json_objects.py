"""Reading files of JSON objects: jsonl and json."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .kinds import Column
from .lines import decoded, opened, text_lines
from .rows import Columns, Row, checked, missing_column

if TYPE_CHECKING:
    from ..readers import FileOptions


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dictionary; raises ValueError if a key stands twice in it."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} stands twice in one object")
    return record


DECODER = json.JSONDecoder(object_pairs_hook=object_of)
SPACES = " \t\r\n"
SPACE = re.compile(f"[{SPACES}]*")


def skip_space(text: str, position: int) -> int:
    """The first position, from `position` on, that is not white space."""
    match = SPACE.match(text, position)
    return match.end() if match else position


def parse_json(text: str, position: int, path: str, line: int) -> tuple[Any, int]:
    """The JSON value that begins at `position`, on this line, and the position where it ends.

    Raises:
        ValueError: the JSON is invalid; the message names the line.
    """
    try:
        return DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        at = line + text.count("\n", position, error.pos)
        raise ValueError(f"{path}: line {at}: invalid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: line {line}: invalid JSON: {error}") from None


def record_values(record: Any, columns: Columns, path: str, line: int) -> tuple[Any, ...]:
    """The values of one object; raises ValueError if a key is missing or a value is not of its kind."""
    if not isinstance(record, dict):
        raise ValueError(
            f"{path}: line {line}: an object with the keys {', '.join(column.name for column in columns.values())} is "
            f"needed, not {record!r:.60}"
        )
    return tuple(record_value(record, column, option, path, line) for option, column in columns.items())


def record_value(record: dict[str, Any], column: Column, option: str, path: str, line: int) -> Any:
    """The value of one key; a dot in the name of the column reaches into a nested object, if no key has this name."""
    value: Any = record
    for key in [column.name] if column.name in record else column.name.split("."):
        if value is None:
            return None
        if column.optional and isinstance(value, dict) and key not in value:
            return None
        if not isinstance(value, dict) or key not in value:
            raise missing_column(f"{path}: line {line}", column.name, option, record)
        value = value[key]
    return checked(value, column, f"{path}: line {line}")


def read_jsonl(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The rows of a file with one JSON object on each line; blank lines are skipped."""
    for number, line in text_lines(path):
        if line.strip(SPACES):
            record, end = parse_json(line, skip_space(line, 0), path, number)
            if line[end:].strip(SPACES):
                raise ValueError(
                    f"{path}: line {number}: invalid JSON: more text follows the object, at column {end + 1}"
                )
            yield number, record_values(record, columns, path, number)


def read_json(path: str, columns: Columns, options: "FileOptions") -> Iterator[Row]:
    """The rows of a JSON list of objects. A file that does not begin with a list is read as jsonl."""
    with opened(path) as file:
        text = decoded(file.read(), path)
    start = skip_space(text, 0)
    if not text.startswith("[", start):
        yield from read_jsonl(path, columns, options)
        return
    for line, record in list_items(text, start, path):
        yield line, record_values(record, columns, path, line)


def list_items(text: str, position: int, path: str) -> Iterator[tuple[int, Any]]:
    """The line and the value of each item of the JSON list that begins at `position`."""
    line, seen, behind = 1, 0, skip_space(text, position + 1)
    if not text.startswith("]", behind):
        behind = position
        while text.startswith(("[", ","), behind):
            start = skip_space(text, behind + 1)
            line, seen = line + text.count("\n", seen, start), start
            value, end = parse_json(text, start, path, line)
            yield line, value
            behind = skip_space(text, end)
    if not text.startswith("]", behind) or skip_space(text, behind + 1) < len(text):
        raise ValueError(
            f"{path}: line {line}: invalid JSON: after this item a comma, or the end of the list, is needed"
        )

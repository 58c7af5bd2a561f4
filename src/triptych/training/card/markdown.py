"""Pieces of Markdown that show any text as it is: no name and no number can break a table, a block or the page."""

import re
import shlex
from collections.abc import Iterable, Sequence

WIDTH = 100  # of the lines into which a command is broken


def one_line(text: object) -> str:
    """Returns a text with single spaces instead of its line ends and other white space."""
    return " ".join(str(text).split())


def fence(text: str, least: int) -> str:
    """Returns more backticks than the text has in one place."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall(r"`+", text))])


def code(text: object) -> str:
    """Returns a text as code within a line."""
    line = one_line(text)
    marks = fence(line, 1)
    space = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{marks}{space}{line}{space}{marks}"


def plain(text: object) -> str:
    """Returns a text within a line, where no character has a meaning of Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>#~&])", r"\\\1", one_line(text))


def block(text: str, language: str = "") -> str:
    """Returns lines as a block of code."""
    marks = fence(text, 3)
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table. The cells are Markdown, such as `code` and `plain` return it."""
    lines = [headings, ["---"] * len(headings), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in cells] for cells in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def command(words: Sequence[str]) -> str:
    """Returns a command as one types it, in lines of up to `WIDTH` characters where its options allow that."""
    lines = [""]
    options: list[str] = []  # each with its values
    for word in words:
        if word.startswith("--") or not options:
            options.append(shlex.quote(word))
        else:
            options[-1] += f" {shlex.quote(word)}"
    for option in options:
        if lines[-1] and len(lines[-1]) + len(option) + 3 > WIDTH:
            lines.append(f"    {option}")
        else:
            lines[-1] = f"{lines[-1]} {option}" if lines[-1] else option
    return " \\\n".join(lines)

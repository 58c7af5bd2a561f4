"""Reads rows of text from one file. What each format means is in docs/data.md; what it does not mean is refused.

A reader is a generator of rows: the place of a row (the line on which it begins; for parquet its number, from 1)
and the text in each of the wanted columns (None where there is none). Errors are `ValueError`s that begin with the
name of the file and the place. No name is ever taken as a pattern or an address, and nothing is cached.
"""

import bz2
import codecs
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import IO, Any

Columns = Mapping[str, str]
"""Option that names the column → name of the column."""
Row = tuple[int, tuple[str | None, ...]]
NAMED = 5  # places that a message names; it counts the others

NEWLINE = b"\n"
BLOCK = 1 << 20  # bytes that are decoded at a time
CHOICES = {"quoting": ("standard", "none"), "surplus": ("error", "ignore"), "empty": ("error", "drop")}


def check_choice(option: str, word: str) -> None:
    """Raises ValueError unless `word` is one of the words of this option."""
    if word not in CHOICES[option]:
        raise ValueError(f"{option}={word!r} is unknown; choose from {', '.join(CHOICES[option])}")


@dataclass(frozen=True)
class FileOptions:
    """How files are read, where the defaults of their format are not right; docs/data.md describes each option.

    Raises:
        ValueError: an unknown word, a delimiter of more than one character, no or repeated column names.
    """

    file_format: str | None = None
    column_names: tuple[str, ...] | None = None
    delimiter: str | None = None
    quoting: str = "standard"
    surplus: str = "error"

    def __post_init__(self) -> None:
        check_choice("quoting", self.quoting)
        check_choice("surplus", self.surplus)
        if self.file_format is not None and self.file_format not in FORMATS:
            raise ValueError(f"file_format={self.file_format!r} is unknown; choose from {', '.join(FORMATS)}")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(
                f"delimiter={self.delimiter!r} must be one character, and neither a quotation mark nor a line end"
            )
        if self.column_names is not None and (
            not self.column_names or len(set(self.column_names)) < len(self.column_names)
        ):
            raise ValueError(f"column_names={list(self.column_names)} must be names of columns, each once")

    def tabular(self) -> list[str]:
        """Names of the options that are given and concern tsv and csv only."""
        return [
            name
            for name in ("column_names", "delimiter", "quoting", "surplus")
            if getattr(self, name) != getattr(FileOptions, name)
        ]


# --- bytes and lines -----------------------------------------------------------------------------------------------


def open_zst(path: str, mode: str) -> IO[bytes]:
    import io

    import pyarrow as pa

    file: IO[bytes] = io.BufferedReader(pa.CompressedInputStream(pa.OSFile(path), "zstd"))
    return file


OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": open_zst}


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, uncompressed; raises ValueError if the compressed data are damaged or cut."""
    suffix = Path(path).suffix.lower()
    try:
        with OPENERS.get(suffix, open)(path, "rb") as file:
            yield file
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's own, such as a missing permission
            raise
        raise ValueError(f"{path}: the {suffix[1:]} data are damaged or cut off ({error})") from error


def decoded(raw: bytes, path: str, first_line: int = 1) -> str:
    """Bytes to text; raises ValueError with the line of the first byte that is not UTF-8, or is NUL."""
    if first_line == 1:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"{path}: line 1: the file is in UTF-16; convert it to UTF-8")
        raw = raw.removeprefix(codecs.BOM_UTF8)
    if (zero := raw.find(b"\0")) >= 0:
        raise ValueError(
            f"{path}: line {first_line + raw.count(NEWLINE, 0, zero)} holds a NUL character; this is not text"
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(NEWLINE, 0, error.start)
        raise ValueError(
            f"{path}: line {line} is not UTF-8 (byte 0x{raw[error.start]:02x}: {error.reason}); convert the file"
        ) from None


def text_lines(path: str) -> Iterator[tuple[int, str]]:
    r"""Number and text of each line, which only \n ends (not a lone \r, not U+2028); see `content`."""
    number = 1
    with opened(path) as file:
        while block := file.read(BLOCK) + file.readline():
            lines = decoded(block, path, number).removesuffix("\n").split("\n")
            yield from enumerate(lines, number)
            number += len(lines)


def content(line: str) -> str:
    r"""A line without the \r that belongs to its end."""
    return line.removesuffix("\r")


# --- tsv and csv ---------------------------------------------------------------------------------------------------


def raw_fields(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row; a quotation mark is a character like any other."""
    for number, line in text_lines(path):
        yield number, content(line).split(delimiter)


def standard_fields(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row, with the quoting of RFC 4180.

    `csv.reader`, also with `strict=True`, takes a stray quotation mark as text, and a lone carriage return as the end
    of a row; neither can be told from its result.
    """
    lines = text_lines(path)
    for number, line in lines:
        if '"' in line:
            yield number, quoted_fields(path, delimiter, number, line, lines)
        else:
            yield number, content(line).split(delimiter)


TO_QUOTE = re.compile(r'(?:[^"]+|"")*')


def quoted_fields(path: str, delimiter: str, number: int, line: str, lines: Iterator[tuple[int, str]]) -> list[str]:
    """The fields of one row; a quoted field takes as many further `lines` as it goes over."""
    fields, position = [], 0
    while True:
        begin = number
        if line.startswith('"', position):
            pieces, position = [], position + 1
            while (end := end_of(TO_QUOTE, line, position)) == len(line):
                pieces.append(line[position:] + "\n")
                number, line = next(lines, (0, ""))
                if not number:
                    raise stray_quote(path, begin, "is not closed")
                position = 0
            pieces.append(line[position:end])
            fields.append("".join(pieces).replace('""', '"'))
            position = end + 1
            if not line.startswith(delimiter, position):
                if content(line[position:]):
                    raise stray_quote(path, begin, "is followed by more text")
                return fields
        else:
            end = line.find(delimiter, position)
            field = content(line[position:]) if end < 0 else line[position:end]
            if '"' in field:
                raise stray_quote(path, begin, "stands inside a field that does not begin with one")
            fields.append(field)
            if end < 0:
                return fields
            position = end
        position += len(delimiter)


def stray_quote(path: str, line: int, fault: str) -> ValueError:
    return ValueError(
        f"{path}: line {line}: a quotation mark {fault}. A field that holds quotation marks must itself stand in "
        'quotation marks, with "" for each (as pandas and `Dataset.to_csv` write it). If quotation marks are ordinary '
        "characters in this file, give --quoting none"
    )


SPLITTERS = {"standard": standard_fields, "none": raw_fields}


def read_delimited(path: str, columns: Columns, options: FileOptions, delimiter: str) -> Iterator[Row]:
    """Rows of a tsv or csv file."""
    delimiter = options.delimiter or delimiter
    rows = SPLITTERS[options.quoting](path, delimiter)
    first = next(rows, (1, [""]))
    header = first[1]
    if options.column_names:
        header = list(options.column_names)
        if first[1] == header:
            raise ValueError(f"{path}: line 1 holds the column names already; leave out --column_names")
        rows = chain([first], rows)
    picks = [header_position(path, column, option, header, delimiter) for option, column in columns.items()]
    blank: list[int] = []
    wrong: list[str] = []
    for place, fields in rows:
        if len(fields) != len(header):
            if len(fields) == 1 and not fields[0].strip():  # a line without anything; at the end of a file no row
                blank.append(place)
                continue
            if len(fields) < len(header) or options.surplus == "error":
                wrong.append(f"line {place} has {len(fields)}")
                continue
        if blank:
            yield from ((line, (None,) * len(picks)) for line in blank)
            blank = []
        yield place, tuple([fields[pick] for pick in picks])
    if wrong:
        raise ValueError(
            f"{path}: {counted(wrong)} another number of fields than the {len(header)} of the "
            f"{'--column_names' if options.column_names else 'header'}: {named(wrong)}. A field that holds the "
            f"delimiter {delimiter!r} must stand in quotation marks; surplus fields are left out with --surplus ignore"
        )


def header_position(path: str, column: str, option: str, header: list[str], delimiter: str) -> int:
    """Where a column stands; raises ValueError if there is none of this name, or if two columns have the same name."""
    if repeated := [name for name in header if header.count(name) > 1]:
        raise ValueError(
            f"{path}: line 1: the header has the column {repeated[0]!r} twice; each needs a name of its own"
        )
    if column in header:
        return header.index(column)
    remedy = "if the first line is not a header but a row, name all columns with --column_names"
    others = [other for other in "\t;,|" if len(header) == 1 and other in header[0]]
    if others:
        remedy = f"if the fields are divided by {others[0]!r} and not by {delimiter!r}, give --delimiter {others[0]!r}"
    raise missing_column(path, column, option, header, f"; {remedy}")


def missing_column(place: str, column: str, option: str, names: Iterable[str], more: str = "") -> ValueError:
    known = ", ".join(map(repr, names))
    return ValueError(f"{place} has no column {column!r}; it has {known}. Name the right one with --{option}{more}")


def counted(rows: Sequence[object] | int) -> str:
    number = rows if isinstance(rows, int) else len(rows)
    return f"{number:,} {'row has' if number == 1 else 'rows have'}"


def named(places: list[str]) -> str:
    """The first few of them."""
    return ", ".join(places[:NAMED]) + (", …" if len(places) > NAMED else "")


# --- json ----------------------------------------------------------------------------------------------------------


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} stands twice in one object")
    return record


DECODER = json.JSONDecoder(object_pairs_hook=object_of)
SPACES = " \t\r\n"
SPACE = re.compile(f"[{SPACES}]*")


def skip_space(text: str, position: int) -> int:
    return end_of(SPACE, text, position)


def end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where the match at `position` ends; without a match, `position`."""
    match = pattern.match(text, position)
    return match.end() if match else position


def parse_json(text: str, position: int, path: str, line: int) -> tuple[Any, int]:
    """The value that begins at `position`, on this line, and where it ends."""
    try:
        return DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        at = line + text.count("\n", position, error.pos)
        raise ValueError(f"{path}: line {at}: invalid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: line {line}: invalid JSON: {error}") from None


def record_values(record: Any, columns: Columns, path: str, line: int) -> tuple[str | None, ...]:
    """The texts of one object; raises ValueError if a key is missing or a value is not text."""
    if not isinstance(record, dict):
        raise ValueError(
            f"{path}: line {line}: an object with the keys {', '.join(columns.values())} is needed, not {record!r:.60}"
        )
    return tuple(record_value(record, column, option, path, line) for option, column in columns.items())


def record_value(record: dict[str, Any], column: str, option: str, path: str, line: int) -> str | None:
    value: Any = record
    for key in [column] if column in record else column.split("."):
        if value is None:
            return None
        if not isinstance(value, dict) or key not in value:
            raise missing_column(f"{path}: line {line}", column, option, record)
        value = value[key]
    return checked(value, column, f"{path}: line {line}")


def checked(value: Any, column: str, place: str) -> str | None:
    """A value that is text or None; raises ValueError for all others."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{place}: {column!r} is {value!r:.60}, not text")
    if "\0" in value:
        raise ValueError(f"{place}: {column!r} holds a NUL character; this is not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place}: {column!r} holds half of a surrogate pair, which is not a character") from None
    return value


def read_jsonl(path: str, columns: Columns, options: FileOptions) -> Iterator[Row]:
    """Rows of a file with one JSON object on each line; blank lines are no rows."""
    for number, line in text_lines(path):
        if line.strip(SPACES):
            record, end = parse_json(line, skip_space(line, 0), path, number)
            if line[end:].strip(SPACES):
                raise ValueError(
                    f"{path}: line {number}: invalid JSON: more text follows the object, at column {end + 1}"
                )
            yield number, record_values(record, columns, path, number)


def read_json(path: str, columns: Columns, options: FileOptions) -> Iterator[Row]:
    """Rows of a JSON list of objects. A file that begins otherwise is read as jsonl."""
    with opened(path) as file:
        text = decoded(file.read(), path)
    start = skip_space(text, 0)
    if not text.startswith("[", start):
        yield from read_jsonl(path, columns, options)
        return
    for line, record in list_items(text, start, path):
        yield line, record_values(record, columns, path, line)


def list_items(text: str, position: int, path: str) -> Iterator[tuple[int, Any]]:
    """Line and value of each item of the JSON list that begins at `position`."""
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


# --- parquet -------------------------------------------------------------------------------------------------------


def read_parquet(path: str, columns: Columns, options: FileOptions) -> Iterator[Row]:
    """Rows of a parquet file; a dot in a column's name reaches into a nested column."""
    import pyarrow as pa
    from pyarrow import parquet

    with open(path, "rb") as file:  # an open file, because pyarrow takes some names as addresses
        try:
            table = parquet.ParquetFile(file)
            for option, column in columns.items():
                check_parquet_column(path, table.schema_arrow, column, option)
            row = 0
            for batch in table.iter_batches(batch_size=10_000, columns=list(dict.fromkeys(columns.values()))):
                texts = [arrow_texts(nested(batch, column), path, row) for column in columns.values()]
                for values in zip(*texts, strict=True):
                    row += 1
                    yield (
                        row,
                        tuple(
                            checked(v, c, f"{path}: row {row}") for v, c in zip(values, columns.values(), strict=True)
                        ),
                    )
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error


def nested(batch: Any, column: str) -> Any:
    """The array of a column."""
    if column in batch.schema.names:
        return batch.column(column)
    import pyarrow.compute as pc

    head, *keys = column.split(".")
    array = batch.column(head)
    for key in keys:
        array = pc.struct_field(array, key)
    return array


def check_parquet_column(path: str, schema: Any, column: str, option: str) -> None:
    """Raises ValueError unless there is exactly one column of this name, and it holds text."""
    import pyarrow as pa

    if len(set(schema.names)) < len(schema.names):
        raise ValueError(f"{path} has two columns of the same name; it has {', '.join(map(repr, schema.names))}")
    kinds = dict(field_types(schema))
    if column not in kinds:
        raise missing_column(path, column, option, kinds)
    kind = kinds[column]
    if not is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise ValueError(f"{path}: column {column!r} holds {kind}, not text")


def field_types(fields: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and type of each column, and of those nested in it: `translation`, `translation.en`."""
    import pyarrow as pa

    for field in fields:
        yield prefix + field.name, field.type
        if pa.types.is_struct(field.type):
            yield from field_types(field.type, f"{prefix}{field.name}.")


def is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def arrow_texts(array: Any, path: str, before: int) -> list[str | None]:
    """An array as Python strings; raises ValueError with the row that is not UTF-8."""
    try:
        texts: list[str | None] = array.to_pylist()
        return texts
    except UnicodeDecodeError:
        for row, value in enumerate(array, before + 1):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: row {row} is not UTF-8: {error.reason}") from None
        raise


# --- plain text ----------------------------------------------------------------------------------------------------


def read_text(path: str, columns: Columns, options: FileOptions) -> Iterator[Row]:
    """Each line as the one column `text`."""
    for option, column in columns.items():
        if column != "text":
            raise ValueError(f"{path} has no column {column!r}: a plain text file has one column, 'text' (--{option})")
    for number, line in text_lines(path):
        yield number, (content(line),) * len(columns)


def read_parallel(source: str, target: str, options: FileOptions) -> Iterator[Row]:
    """Line n of the one file with line n of the other.

    Raises:
        ValueError: they have different numbers of lines, or look like tables.
    """
    counts = [0, 0]
    for pair in zip_longest(text_lines(source), text_lines(target)):
        for side, line in enumerate(pair):
            counts[side] += line is not None
        sides = tuple(content(line[1]) for line in pair if line is not None)
        if counts == [1, 1] and options.file_format is None and any("\t" in side for side in sides):
            raise ValueError(
                f"{source} and {target}: line 1 holds a tab. Two files are read as plain text where their names "
                "do not say otherwise; if these are tables, give --file_format tsv, if not, --file_format text"
            )
        if len(sides) == 2:
            yield counts[0], sides
    if counts[0] != counts[1]:
        raise ValueError(
            f"{source} has {counts[0]} lines, but {target} has {counts[1]}; line n of the one must be the "
            "translation of line n of the other"
        )


FORMATS: dict[str, Callable[[str, Columns, FileOptions], Iterator[Row]]] = {
    "tsv": partial(read_delimited, delimiter="\t"),
    "csv": partial(read_delimited, delimiter=","),
    "jsonl": read_jsonl,
    "json": read_json,
    "parquet": read_parquet,
    "text": read_text,
}
"""Word for a format, and for all but text the end of a file's name → its reader."""


def file_format(path: str, options: FileOptions) -> str:
    """The format of a file: the one that is given, or what its name says (`pairs.tsv`, `pairs.TSV.gz`), or text."""
    name = Path(path).name.lower()
    for compression in OPENERS:
        name = name.removesuffix(compression)
    word = options.file_format or Path(name).suffix[1:]
    if word == "parquet" and name != Path(path).name.lower():
        raise ValueError(f"{path}: parquet compresses its columns by itself; uncompress the file")
    return word if word in FORMATS else "text"


def check_file(path: str) -> None:
    """Raises FileNotFoundError if there is no such file, ValueError if it is empty."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file" if Path(path).exists() else f"{path} does not exist")
    if Path(path).stat().st_size == 0:
        raise ValueError(f"{path} is empty; it must hold rows of text")

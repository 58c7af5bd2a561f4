"""What each format means, what is refused, and with which words. (docs/data.md is run by test_docs.py.)"""

import gzip
import json
import logging
import os
from itertools import product

import pandas
import pyarrow
import pytest
from datasets import Dataset
from pyarrow import parquet

from triptych.data import load_pairs

PAIRS = [
    ("The house.", "Das Haus."),
    ('He said "no" twice.', "Er sagte zweimal „nein“."),
    ('"', '""'),
    ("null", "NA"),
    ("007", "1e5"),
    (" leading", "trailing "),
    ("a\tb,c;d", "\\t\\"),
    ("two\nlines", "two\r\nlines"),
    ("carriage\rreturn", "line separator\u2028next line\x85form feed\x0cend"),
    ("nan", "None"),
]
PLAIN = [pair for pair in PAIRS if not set("\t\n\r") & set("".join(pair))]


def records(pairs) -> list[dict[str, str]]:
    return [{"source": source, "target": target} for source, target in pairs]


def raw(pairs, header="source\ttarget") -> str:
    """A table without any quoting."""
    return "\n".join([header, *("\t".join(pair) for pair in pairs)]) + "\n"


def standard(**options) -> str:
    return pandas.DataFrame(records(PAIRS)).to_csv(index=False, **{"lineterminator": "\n"} | options)


WRITERS = {
    "pandas.tsv": lambda path: path.write_bytes(standard(sep="\t").encode()),
    "crlf.tsv": lambda path: path.write_bytes(standard(sep="\t", lineterminator="\r\n").encode()),
    "bom.tsv": lambda path: path.write_bytes(standard(sep="\t").encode("utf-8-sig")),
    "quote-all.tsv": lambda path: path.write_bytes(standard(sep="\t", quoting=1).encode()),
    "no end.tsv": lambda path: path.write_bytes(standard(sep="\t").encode().removesuffix(b"\n")),
    "blank end.tsv": lambda path: path.write_bytes(standard(sep="\t").encode() + b"\n \n"),
    "pandas.TSV.gz": lambda path: path.write_bytes(gzip.compress(standard(sep="\t").encode())),
    "pandas.tsv.zst": lambda path: pyarrow.CompressedOutputStream(str(path), "zstd").write(
        standard(sep="\t").encode()
    ),
    "to_csv.tsv": lambda path: Dataset.from_list(records(PAIRS)).to_csv(path, sep="\t"),
    "to_csv.csv": lambda path: Dataset.from_list(records(PAIRS)).to_csv(path),
    "pairs.json": lambda path: path.write_text(json.dumps(records(PAIRS), indent=2), encoding="utf-8"),
    "lines.json": lambda path: path.write_text("\n".join(map(json.dumps, records(PAIRS))), encoding="utf-8"),
    "pairs.jsonl": lambda path: Dataset.from_list(records(PAIRS)).to_json(path, force_ascii=False),
    "pairs.parquet": lambda path: Dataset.from_list(records(PAIRS)).to_parquet(path),
    "categories.parquet": lambda path: pandas.DataFrame(records(PAIRS)).astype("category").to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_text_as_it_stands(tmp_path, name):
    WRITERS[name](tmp_path / name)
    loaded = load_pairs(train_file=tmp_path / name)
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names == ["source", "target"]
    assert list(zip(loaded["train"]["source"], loaded["train"]["target"], strict=True)) == PAIRS
    assert os.listdir(tmp_path) == [name]


def test_every_short_text_survives_the_quoting(tmp_path):
    texts = ["".join(letters) for letters in product('a"\t,\n\\', repeat=3) if "".join(letters).strip()]
    table = pandas.DataFrame({"source": texts, "target": texts[::-1]})
    for name, separator in (("a.tsv", "\t"), ("a.csv", ",")):
        table.to_csv(tmp_path / name, sep=separator, index=False)
        assert load_pairs(tmp_path / name)["train"].to_dict() == table.to_dict(orient="list"), name


def test_raw_tables(tmp_path):
    (tmp_path / "a.tsv").write_text(raw(PLAIN), encoding="utf-8")
    loaded = load_pairs(tmp_path / "a.tsv", quoting="none")["train"]
    assert list(zip(loaded["source"], loaded["target"], strict=True)) == PLAIN


def test_lines_are_counted_beyond_the_first_block(tmp_path, monkeypatch):
    monkeypatch.setattr("triptych.data.formats.lines.BLOCK", 16)
    monkeypatch.setattr("triptych.data.arrow.CHUNK", 7)
    pairs = [(f"sentence {i}", f'"Satz\n{i}"') for i in range(50)]
    (tmp_path / "a.tsv").write_text(raw(pairs), encoding="utf-8")
    assert load_pairs(tmp_path / "a.tsv")["train"]["target"][:] == [f"Satz\n{i}" for i in range(50)]
    with open(tmp_path / "a.tsv", "ab") as file:
        file.write(b"\xff\tx\n")
    with pytest.raises(ValueError, match=r"a\.tsv: line 102 is not UTF-8"):
        load_pairs(tmp_path / "a.tsv")


NAMES = [
    "pairs[1].tsv",
    "a*b.tsv",
    "{x}.tsv",
    "a::b.tsv",
    "a#b%20.tsv",
    " two  words .tsv",
    "hf:.tsv",
    "?.tsv",
    "~.tsv",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for other in ("pairs1.tsv", "axb.tsv", "x.tsv", "b.tsv", "a"):  # what the names would match as patterns
        (tmp_path / other).write_text(raw([("wrong", "falsch")]))
    with pytest.raises(FileNotFoundError) as error:
        load_pairs(name)
    assert str(error.value) == f"{name} does not exist"
    (tmp_path / name).write_text(raw([("right", "richtig")]))
    assert load_pairs(name)["train"]["source"][:] == ["right"]


@pytest.mark.parametrize("name", ["hf://datasets/a/b.tsv", "https://example.com/a.tsv", "zip://a.tsv::b.zip"])
def test_an_address_is_a_name(name):
    with pytest.raises(FileNotFoundError) as error:
        load_pairs(name)
    assert str(error.value) == f"{name} does not exist"


def test_no_file_that_is_missing_or_a_directory(tmp_path):
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.tsv is not a file"):
        load_pairs(train_file=tmp_path / "folder.tsv")


def test_a_file_that_has_changed_is_read_anew(tmp_path):
    path = tmp_path / "a.tsv"
    for text in ("old", "new"):
        path.write_text(raw([(text, "x")]))
        os.utime(path, (0, 0))
        assert load_pairs(path)["train"]["source"][:] == [text]
        assert load_pairs(dataset_name=str(tmp_path))["train"]["source"][:] == [text]


def test_splits_of_different_formats(tmp_path):
    (tmp_path / "a.tsv").write_text(raw([("a", "b"), ("c", "d")]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps(records(PAIRS)[0]), encoding="utf-8")
    loaded = load_pairs(train_file=tmp_path / "a.tsv", test_file=str(tmp_path / "b.jsonl"))
    assert {split: (len(rows), str(rows.split)) for split, rows in loaded.items()} == {
        "train": (2, "train"),
        "test": (1, "test"),
    }


def test_several_tables_are_read_one_after_another(tmp_path):
    (tmp_path / "a.tsv").write_text(raw([("a", "b"), ("c", "d")]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps(records(PAIRS)[0]), encoding="utf-8")
    loaded = load_pairs([tmp_path / "b.jsonl", tmp_path / "a.tsv"])["train"]
    assert loaded["source"][:] == [PAIRS[0][0], "a", "c"]


def test_two_plain_files_are_a_pair(tmp_path):
    (tmp_path / "a.en").write_bytes('one\r\ntwo\u2028"x\rthree\nfour'.encode())
    (tmp_path / "a.de").write_bytes("\ufeffeins\nzwei\x85\x0c\nvier\n".encode())
    loaded = load_pairs([tmp_path / "a.en", tmp_path / "a.de"])["train"]
    assert loaded["source"][:] == ["one", 'two\u2028"x\rthree', "four"]
    assert loaded["target"][:] == ["eins", "zwei\x85\x0c", "vier"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.en": "1\n2\n3\n", "a.de": "1\n2\n"}, r"a\.en has 3 lines, but \S+a\.de has 2; line n"),
        ({"a.en": "1\n2\n", "a.de": "1\n2\n\n"}, r"a\.en has 2 lines, but \S+a\.de has 3"),
        ({"a.en": "1\n2\n", "a.de": "1\n \n"}, r"a\.de: 1 row has no text on one side: line 2 \(no target\)"),
        ({"a.en": "1\n2\n", "a.de": "1\n\xff\n"}, r"a\.de: line 2 is not UTF-8"),
        ({"a.en": "1\n2\n", "a.de": "1\n\0\n"}, r"a\.de: line 2 holds a NUL character"),
        ({"a.tvs": "x\ty\n", "b.tvs": "x\ty\n"}, r"line 1 holds a tab.*--file_format tsv"),
        ({"a.en": "1\n"}, r"a\.en: the name ends in none of \.tsv, .*two files of plain text.*--file_format"),
        ({"a.en": "1\n", "a.de": "1\n", "a.fr": "1\n"}, "Give two files of plain text"),
        ({"a.en": "1\n", "a.tsv": raw([("a", "b")])}, "Give two files of plain text"),
    ],
)
def test_plain_files_that_are_no_pair(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        load_pairs([tmp_path / name for name in files])


def test_a_file_is_named_once(tmp_path):
    with pytest.raises(ValueError, match=r"each named once"):
        load_pairs(["a.en", "a.en"])


def test_columns_of_other_names(tmp_path):
    (tmp_path / "a.tsv").write_text(raw([("1", "Hallo", "Hello")], "id\ttarget\tsource"), encoding="utf-8")
    assert load_pairs(tmp_path / "a.tsv")["train"][0] == {"source": "Hello", "target": "Hallo"}
    swapped = load_pairs(tmp_path / "a.tsv", source_column="target", target_column="source")["train"]
    assert swapped[0] == {"source": "Hallo", "target": "Hello"}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet"])
def test_nested_columns(tmp_path, name):
    record = {"translation": {"en": "Hello", "de": "Hallo"}}
    if name == "a.parquet":
        Dataset.from_list([record]).to_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text(json.dumps([record] if name == "a.json" else record), encoding="utf-8")
    rows = load_pairs(tmp_path / name, source_column="translation.en", target_column="translation.de")["train"]
    assert rows[:] == {"source": ["Hello"], "target": ["Hallo"]}
    with pytest.raises(ValueError, match=r"no column 'translation\.fr'; it has .*--target_column"):
        load_pairs(tmp_path / name, source_column="translation.en", target_column="translation.fr")


TATOEBA = 'Go.\tGeh.\tCC-BY 2.0\nHi "you".\tHallo, "du".\tCC-BY 2.0\n'


def test_a_table_without_a_header(tmp_path):
    (tmp_path / "deu.txt").write_text(TATOEBA, encoding="utf-8")
    how = {"file_format": "tsv", "quoting": "none"}
    expected = {"source": ["Go.", 'Hi "you".'], "target": ["Geh.", 'Hallo, "du".']}
    for options in (
        {"column_names": ["source", "target", "licence"]},
        {"column_names": ["source", "target"], "surplus": "ignore"},
        {"column_names": ["en", "de", "licence"], "source_column": "en", "target_column": "de"},
    ):
        assert load_pairs(tmp_path / "deu.txt", **how, **options)["train"][:] == expected
    with pytest.raises(
        ValueError, match=r"2 rows have another number of fields than the 2 of the --column_names: line 1"
    ):
        load_pairs(tmp_path / "deu.txt", **how, column_names=["source", "target"])
    (tmp_path / "deu.txt").write_text("source\ttarget\n" + TATOEBA, encoding="utf-8")
    assert load_pairs(tmp_path / "deu.txt", **how, surplus="ignore")["train"][:] == expected
    with pytest.raises(ValueError, match=r"line 1 holds the column names already; leave out --column_names"):
        load_pairs(tmp_path / "deu.txt", **how, column_names=["source", "target"], surplus="ignore")


def test_another_delimiter(tmp_path):
    (tmp_path / "a.csv").write_text('source;target\nYes, please.;"Ja; bitte."\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"no column 'source'; it has 'source;target'.*give --delimiter ';'"):
        load_pairs(tmp_path / "a.csv")
    assert load_pairs(tmp_path / "a.csv", delimiter=";")["train"][0] == {
        "source": "Yes, please.",
        "target": "Ja; bitte.",
    }


EMPTY = {
    "a.tsv": "source\ttarget\na\t\n\nb\tc\n  \td\nb\tc\nb\t\nb\t\nb\t\nx\ty\n",
    "a.jsonl": '{"source": "a", "target": ""}\n\n{"source": "b", "target": "c"}\n{"source": null, "target": "d"}\n',
}


def test_all_empty_rows_are_told_at_once_and_can_be_left_out(tmp_path, caplog):
    for name, text in EMPTY.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="no text") as error:
        load_pairs([tmp_path / "a.tsv", tmp_path / "a.jsonl"], validation_file=tmp_path / "a.jsonl")
    assert str(error.value) == (
        f"{tmp_path}/a.tsv: 6 rows have no text on one side: line 2 (no target), line 3 (no source and no target), "
        "line 5 (no source), line 7 (no target), line 8 (no target), …; "
        f"{tmp_path}/a.jsonl: 2 rows have no text on one side: line 1 (no target), line 4 (no source); "
        f"{tmp_path}/a.jsonl: 2 rows have no text on one side: line 1 (no target), line 4 (no source). "
        "Complete these rows, or leave them out with --empty drop"
    )
    with caplog.at_level(logging.WARNING, logger="triptych"):
        loaded = load_pairs([tmp_path / "a.tsv", tmp_path / "a.jsonl"], empty="drop")["train"]
    assert loaded[:] == {"source": ["b", "b", "x", "b"], "target": ["c", "c", "y", "c"]}
    assert [record.message for record in caplog.records] == [
        "train: empty rows left out: 8 of 12",
        "train: repeated rows, kept: 2",
    ]


def test_nothing_is_left(tmp_path):
    (tmp_path / "a.tsv").write_text("source\ttarget\na\t\n")
    with pytest.raises(ValueError, match=r"a\.tsv holds no pairs"):
        load_pairs(tmp_path / "a.tsv", empty="drop")


PAIR = '{"source": "a", "target": "b"}'
BAD_FILES = {
    "empty": ("a.tsv", "", "a.tsv is empty"),
    "header only": ("a.tsv", "source\ttarget\n", "a.tsv holds no pairs"),
    "empty list": ("a.json", " [ ] ", "a.json holds no pairs"),
    "blank jsonl": ("a.jsonl", "\n \n", "a.jsonl holds no pairs"),
    "missing column": (
        "a.tsv",
        "source\tgerman\na\tb\n",
        "a.tsv has no column 'target'; it has 'source', 'german'. Name the right one with --target_column",
    ),
    "no header": ("a.tsv", TATOEBA, "it has 'Go.', 'Geh.', 'CC-BY 2.0'.*name all columns with --column_names"),
    "same column twice": ("a.tsv", raw([("a", "b", "c")], "source\ttarget\tsource"), "line 1: .* 'source' twice"),
    "other widths": (
        "a.tsv",
        "source\ttarget\na\tb\nc\nd\te\tf\n" + "x\ty\tz\n" * 1000,
        "a.tsv: 1,002 rows have another number of fields than the 2 of the header: line 3 has 1, line 4 has 3, line 5 "
        r"has 3, line 6 has 3, line 7 has 3, …\..*--surplus ignore",
    ),
    "comma": ("a.csv", "source,target\nYes, please.,Ja bitte.\n", "a.csv: 1 row has .*: line 2 has 3"),
    "stray": (
        "a.tsv",
        'source\ttarget\na\tb\nc\t5" disk\n',
        "line 3: a quotation mark stands inside .*--quoting none",
    ),
    "open": ("a.csv", 'source,target\n"a",b\n\n"c,d\n' + "x,y\n" * 99, "line 4: .* is not closed.*--quoting none"),
    "open until the next": ("a.tsv", 'source\ttarget\na\t"b\nc\t"d"\n', "line 2: .* more text.*--quoting none"),
    "behind": ("a.tsv", 'source\ttarget\nx\ty\n"a" b\tc\n', "line 3: .* is followed by more text"),
    "in the header": ("a.tsv", 'so"urce\ttarget\n', "line 1: a quotation mark stands inside"),
    "latin-1": ("a.tsv", "source\ttarget\nhouse\tH\udce4user\n", "a.tsv: line 2 is not UTF-8 .byte 0xe4"),
    "utf-16": ("a.csv", "\udcff\udcfes\0o\0", "a.csv: line 1: the file is in UTF-16"),
    "nul": ("a.csv", "source,target\na,b\0\n", "a.csv: line 2 holds a NUL character"),
    "not gzip": ("a.tsv.gz", "source", "a.tsv.gz: the gz data are damaged"),
    "not xz": ("a.tsv.xz", "source", "a.tsv.xz: the xz data are damaged"),
    "not bz2": ("a.tsv.bz2", "source", "a.tsv.bz2: the bz2 data are damaged"),
    "not zst": ("a.tsv.zst", "source", "a.tsv.zst: the zst data are damaged"),
    "absent key": (
        "a.jsonl",
        f'{PAIR}\n\n{{"source": "c"}}',
        "a.jsonl: line 3 has no column 'target'; it has 'source'",
    ),
    "number": ("a.jsonl", f'{PAIR}\n{{"source": 1, "target": "b"}}', "a.jsonl: line 2: 'source' is 1, not text"),
    "list": ("a.jsonl", f'{PAIR}\n{{"source": ["a"], "target": "b"}}', r"line 2: 'source' is \['a'\], not text"),
    "no object": ("a.jsonl", f'{PAIR}\n["a", "b"]', r"a.jsonl: line 2: an object .* is needed, not \['a', 'b'\]"),
    "not json": ("a.jsonl", f'{PAIR}\n{{"source": "a", ', "a.jsonl: line 2: invalid JSON: Expecting property name"),
    "two objects": ("a.jsonl", f"{PAIR} {PAIR}", "a.jsonl: line 1: invalid JSON: more text follows"),
    "key twice": (
        "a.jsonl",
        f'{PAIR}\n{{"source": "a", "source": "c", "target": "b"}}',
        "a.jsonl: line 2: invalid JSON: the key 'source' stands twice",
    ),
    "half a character": ("a.jsonl", '{"source": "\\ud83d", "target": "b"}', "line 1: 'source' holds half of"),
    "escaped nul": ("a.jsonl", '{"source": "a\\u0000", "target": "b"}', "line 1: 'source' holds a NUL"),
    "invalid in jsonl": ("a.jsonl", f'{PAIR}\n{{"source": "\udce4", "target": "b"}}', "a.jsonl: line 2 is not UTF-8"),
    "invalid in json": ("a.json", f'[\n{PAIR},\n"\udce4"]', "a.json: line 3 is not UTF-8"),
    "item": ("a.json", f'[\n{PAIR},\n{PAIR},\n{{"source": 1,\n"target": "b"}}]', "a.json: line 4: 'source' is 1"),
    "no comma": ("a.json", f"[\n{PAIR}\n{PAIR}]", "a.json: line 2: invalid JSON: after this item a comma"),
    "comma at the end": ("a.json", f"[{PAIR},\n]", "a.json: line 2: invalid JSON: Expecting value"),
    "no end": ("a.json", f"[{PAIR}", "a.json: line 1: invalid JSON: after this item"),
    "more": ("a.json", f"[{PAIR}] x", "a.json: line 1: invalid JSON: after this item"),
    "within an item": ("a.json", '[\n{"source": "a",\n"target" "b"}]', "a.json: line 3: invalid JSON: Expecting ':'"),
    "not parquet": ("a.parquet", "source", "a.parquet cannot be read as parquet"),
    "packed parquet": ("a.parquet.gz", "source", "a.parquet.gz: .*uncompress the file"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named_with_the_place(tmp_path, case):
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        load_pairs(train_file=tmp_path / name)


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", "zst"])
def test_compressed_data_that_are_cut_off(tmp_path, suffix):
    path = tmp_path / f"a.tsv.{suffix}"
    if suffix == "zst":
        WRITERS["pandas.tsv.zst"](path)
    else:
        pandas.DataFrame(records(PAIRS)).to_csv(path, sep="\t", index=False)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=rf"a\.tsv\.{suffix}: the {suffix} data are damaged or cut off"):
        load_pairs(path)


def test_bad_parquet_files(tmp_path):
    path = tmp_path / "a.parquet"
    Dataset.from_list(records(PAIRS)).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as parquet"):
        load_pairs(path)
    for column in ([1, 2], [["a"], ["b"]], [None, None]):
        parquet.write_table(pyarrow.table({"source": column, "target": ["a", "b"]}), path)
        with pytest.raises(ValueError, match=r"a\.parquet: column 'source' holds \S+.*, not text"):
            load_pairs(path)
    invalid = pyarrow.array([b"a", b"\xe4"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"source": invalid, "target": ["a", "b"]}), path)
    with pytest.raises(ValueError, match=r"a\.parquet: row 2 is not UTF-8"):
        load_pairs(path)
    parquet.write_table(pyarrow.table([["a"], ["b"], ["c"]], names=["source", "target", "source"]), path)
    with pytest.raises(ValueError, match=r"a\.parquet has two columns of the same name"):
        load_pairs(path)
    parquet.write_table(pyarrow.table({"source": ["a", None], "target": ["a", "b"]}), path)
    with pytest.raises(ValueError, match=r"a\.parquet: 1 row has no text on one side: row 2 \(no source\)"):
        load_pairs(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name either files .* or one dataset_name"),
        ({"train_file": "a.tsv", "dataset_name": "wmt14"}, "name either files .* or one dataset_name"),
        ({"train_file": "a.tsv", "target_column": "source"}, "both 'source'"),
        ({"train_file": "a.tsv", "quoting": "double"}, "quoting='double' is unknown; choose from standard, none"),
        ({"train_file": "a.tsv", "surplus": "drop"}, "surplus='drop' is unknown; choose from error, ignore"),
        ({"train_file": "a.tsv", "empty": "skip"}, "empty='skip' is unknown; choose from error, drop"),
        ({"train_file": "a.tsv", "file_format": "xml"}, "file_format='xml' is unknown; choose from tsv, csv"),
        ({"train_file": "a.tsv", "delimiter": "||"}, "delimiter='||' must be one character"),
        ({"train_file": "a.tsv", "column_names": ["a", "a"]}, "each of them once"),
    ],
)
def test_contradictory_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(**arguments)


def test_options_of_tables_where_there_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_text(PAIR)
    with pytest.raises(ValueError, match="column_names, quoting: only for tsv and csv files"):
        load_pairs(tmp_path / "a.jsonl", quoting="none", column_names=["source", "target"])

import gzip
import json

import pytest
from datasets import Dataset

from triptych.data import load_pairs

PAIRS = [
    ("The house.", "Das Haus."),
    ('He said "no" twice.', "Er sagte zweimal „nein“."),
    ("null", "NA"),
    ("007", "1e5"),
]


def tsv(pairs, header="source\ttarget") -> str:
    return "\n".join([header, *("\t".join(pair) for pair in pairs)]) + "\n"


def records(pairs) -> list[dict[str, str]]:
    return [{"source": source, "target": target} for source, target in pairs]


WRITERS = {
    "pairs.tsv": lambda path: path.write_text(tsv(PAIRS), encoding="utf-8"),
    "pairs.TSV.gz": lambda path: path.write_bytes(gzip.compress(tsv(PAIRS).encode())),
    "crlf.tsv": lambda path: path.write_bytes(tsv(PAIRS).replace("\n", "\r\n").encode()),
    "bom.tsv": lambda path: path.write_text(tsv(PAIRS), encoding="utf-8-sig"),
    "pairs.csv": lambda path: Dataset.from_list(records(PAIRS)).to_csv(path),
    "pairs.json": lambda path: path.write_text(json.dumps(records(PAIRS)), encoding="utf-8"),
    "pairs.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, records(PAIRS))), encoding="utf-8"),
    "pairs.parquet": lambda path: Dataset.from_list(records(PAIRS)).to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_text_as_it_stands(tmp_path, name):
    WRITERS[name](tmp_path / name)
    loaded = load_pairs(train_file=tmp_path / name)
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names == ["source", "target"]
    assert list(zip(loaded["train"]["source"], loaded["train"]["target"], strict=True)) == PAIRS


def test_splits_of_different_formats(tmp_path):
    (tmp_path / "a.tsv").write_text(tsv(PAIRS), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps(records(PAIRS)[0]), encoding="utf-8")
    loaded = load_pairs(train_file=tmp_path / "a.tsv", test_file=str(tmp_path / "b.jsonl"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 4, "test": 1}


def test_columns_of_other_names(tmp_path):
    (tmp_path / "a.tsv").write_text(tsv([("1", "Hallo", "Hello")], "id\ttarget\tsource"), encoding="utf-8")
    assert load_pairs(tmp_path / "a.tsv")["train"][0] == {"source": "Hello", "target": "Hallo"}
    swapped = load_pairs(tmp_path / "a.tsv", source_column="target", target_column="source")["train"]
    assert swapped[0] == {"source": "Hallo", "target": "Hello"}


def test_nested_columns(tmp_path):
    line = json.dumps({"translation": {"en": "Hello", "de": "Hallo"}})
    (tmp_path / "a.jsonl").write_text(line, encoding="utf-8")
    rows = load_pairs(tmp_path / "a.jsonl", source_column="translation.en", target_column="translation.de")["train"]
    assert rows[:] == {"source": ["Hello"], "target": ["Hallo"]}


def test_a_data_set_by_name(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"en": split, "de": "x", "id": 1}), encoding="utf-8")
    loaded = load_pairs(dataset_name=str(tmp_path), source_column="en", target_column="de")
    assert {split: rows[0] for split, rows in loaded.items()} == {
        split: {"source": split, "target": "x"} for split in ("train", "validation")
    }


BAD_FILES = {
    "empty": ("a.tsv", "", "a.tsv is empty"),
    "header only": ("a.tsv", "source\ttarget\n", "a.tsv holds no pairs"),
    "empty list": ("a.json", "[]", "a.json (holds no pairs|cannot be read)"),
    "missing column": (
        "a.tsv",
        "source\tgerman\na\tb\n",
        "a.tsv has no column 'target'; it has 'source', 'german'.*target_column",
    ),
    "no header": ("a.tsv", "Hello\tHallo\nyes\tja\n", "a.tsv has no column 'source'; it has 'Hello', 'Hallo'"),
    "empty side": ("a.tsv", "source\ttarget\na\tb\nc\t\n", "a.tsv: row 2 has no target .its source is 'c'"),
    "blank side": ("a.tsv", "source\ttarget\n  \tb\n", "a.tsv: row 1 has no source .its target is 'b'"),
    "one column": (
        "a.tsv",
        "source\ttarget\na\tb\nc\td\nalone\n",
        "a.tsv: row 3 has no target .its source is 'alone'",
    ),
    "three columns": (
        "a.tsv",
        "source\ttarget\na\tb\nc\td\te\n",
        "a.tsv cannot be read as tsv in UTF-8: .*line 3, saw 3",
    ),
    "null": (
        "a.jsonl",
        '{"source": "a", "target": "b"}\n{"source": null, "target": "b"}',
        "a.jsonl: row 2 has no source",
    ),
    "absent key": ("a.jsonl", '{"source": "a", "target": "b"}\n{"source": "c"}', "a.jsonl: row 2 has no target"),
    "numbers": ("a.jsonl", '{"source": 1, "target": "b"}', "a.jsonl: column 'source' holds int64, not text"),
    "not json": ("a.jsonl", '{"source": "a", ', "a.jsonl cannot be read as jsonl"),
    "not parquet": ("a.parquet", "source", "a.parquet cannot be read as parquet"),
    "latin-1": ("a.tsv", "source\ttarget\nhouse\tH\udce4user\n", "a.tsv cannot be read as tsv in UTF-8"),
    "unknown suffix": ("a.txt", "a", "a.txt: unknown format; the name must end in .tsv, .csv"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named_with_the_place(tmp_path, case):
    name, content, message = BAD_FILES[case]
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        load_pairs(train_file=tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tsv does not exist"):
        load_pairs(train_file=tmp_path / "nowhere.tsv")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"folder\.tsv is not a file"):
        load_pairs(train_file=tmp_path / "folder.tsv")


def test_the_row_is_right_beyond_the_first_chunk():
    from triptych.data.pairs import check_sides

    pairs = Dataset.from_dict({"source": ["a"] * 25, "target": ["b"] * 17 + [None] + ["b"] * 7})
    with pytest.raises(ValueError, match="here: row 18 has no target"):
        check_sides(pairs, "here", chunk=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name either files .* or one dataset_name"),
        ({"train_file": "a.tsv", "dataset_name": "wmt14"}, "name either files .* or one dataset_name"),
        ({"train_file": "a.tsv", "target_column": "source"}, "both 'source'"),
    ],
)
def test_contradictory_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_pairs(**arguments)

"""Columns of labels, lists, numbers and answers: what they are in every format, and what is refused."""

import json
from typing import Any

import pandas
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value, load_from_disk

from triptych.data.formats.kinds import KINDS, Column
from triptych.data.pairs import read_splits
from triptych.data.readers import FileOptions

TYPED = ("a.jsonl", "a.json", "a.parquet")


def write(path, rows: list[dict[str, Any]], features=None) -> str:
    """Writes rows in the format that the name says; lists stand in tables as JSON."""
    table = Dataset.from_list(rows, features=features)
    if path.suffix in (".tsv", ".csv"):
        as_text = [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
        pandas.DataFrame(as_text, dtype=str).to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]", encoding="utf-8")
    return str(path)


def read(files, kind: str, column: str = "label", **options) -> dict[str, Any]:
    columns = {"text_column": "text", "label_column": Column(column, kind)}
    splits, _ = read_splits(
        {"train": files} if not isinstance(files, dict) else files, columns, FileOptions(), **options
    )
    return {split: rows["label"][:] for split, rows in splits.items()}


def labelled(*labels) -> list[dict[str, Any]]:
    return [{"text": f"t{i}", "label": label} for i, label in enumerate(labels)]


@pytest.mark.parametrize("name", [*TYPED, "a.tsv", "a.csv"])
def test_what_nobody_sees_at_the_ends_of_a_label_makes_no_class(tmp_path, name):
    unseen = ("good", "good ", "\u00a0good", "good\u200b", "\ufeffgood\t", "very good")
    assert set(read(write(tmp_path / name, labelled(*unseen)), "label")["train"]) == {"good", "very good"}
    lists = labelled(["a", "b "], ["a\u200b"])
    assert read(write(tmp_path / name, lists), "label") == {"train": [["a", "b"], ["a"]]}
    blank = write(tmp_path / name, labelled("good", "\u200b "))
    with pytest.raises(ValueError, match=r"1 row has nothing in one column: (line|row) \d \(no label\)"):
        read(blank, "label")


def test_what_nobody_sees_at_the_ends_of_a_header_is_no_other_column(tmp_path):
    (tmp_path / "a.tsv").write_text("\u00a0text\tlabel \none\ta\n", encoding="utf-8")
    assert read(str(tmp_path / "a.tsv"), "label") == {"train": ["a"]}
    assert read(str(tmp_path / "a.tsv"), "label", column=" label") == {"train": ["a"]}
    (tmp_path / "a.tsv").write_text("text\tlabel\tlabel \none\ta\tb\n")
    with pytest.raises(ValueError, match="the header has the column 'label' twice"):
        read(str(tmp_path / "a.tsv"), "label")


# What the column holds → its values in formats with types, and in tables; None: not in tables.
KINDS_OF_LABELS = {
    "names": (["good", "bad"], ["good", "bad"], ["good", "bad"]),
    "whole numbers": ([1, 0, 10], ["1", "0", "10"], ["1", "0", "10"]),
    "truth values": ([True, False], ["true", "false"], None),
    "decimal numbers": ([1.5, -2.0], [1.5, -2.0], [1.5, -2.0]),
    "several": ([["a", "b"], [], ["c"]], [["a", "b"], [], ["c"]], [["a", "b"], [], ["c"]]),
    "several numbers": ([[1, 2], [0]], [["1", "2"], ["0"]], [["1", "2"], ["0"]]),
}


@pytest.mark.parametrize("case", KINDS_OF_LABELS)
@pytest.mark.parametrize("name", [*TYPED, "a.tsv", "a.csv"])
def test_labels_are_what_all_rows_allow(tmp_path, name, case):
    written, typed, of_text = KINDS_OF_LABELS[case]
    expected = typed if name in TYPED else of_text
    if expected is not None:
        assert read(write(tmp_path / name, labelled(*written)), "label") == {"train": expected}


def test_numbers_are_numbers_in_all_splits(tmp_path):
    files = {
        "train": [write(tmp_path / "a.jsonl", labelled(1, 2)), write(tmp_path / "b.tsv", labelled("3", "-4"))],
        "test": [write(tmp_path / "c.csv", labelled(" .5", "1e2"))],
    }
    assert read(files, "label") == {"train": [1.0, 2.0, 3.0, -4.0], "test": [0.5, 100.0]}


def test_one_word_makes_numbers_of_a_table_names(tmp_path):
    assert read(write(tmp_path / "a.tsv", labelled("1.5", "2", "007", "[1]", "x")), "label") == {
        "train": ["1.5", "2", "007", "[1]", "x"]
    }
    assert read(write(tmp_path / "a.tsv", labelled("1.5", "[1]")), "label") == {"train": ["1.5", "[1]"]}


CONTRADICTIONS = {
    "a name and a number": ("a.jsonl", ["good", 0.5], r"a\.jsonl: line 2: 'label' is a decimal number, .* line 1 it"),
    "a list and a name": (
        "a.jsonl",
        [["a"], "a"],
        r"line 2: 'label' is a name, but at \S+a\.jsonl: line 1 it is a list",
    ),
    "null in a list": ("a.jsonl", [["a", None]], r"line 1: 'label' is None, not the name of a label"),
    "an object": ("a.jsonl", [{"a": 1}], r"line 1: 'label' is \{'a': 1\}, not the name of a label"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_labels_that_contradict_each_other(tmp_path, case):
    name, labels, message = CONTRADICTIONS[case]
    (tmp_path / name).write_text("\n".join(map(json.dumps, labelled(*labels))))
    with pytest.raises(ValueError, match=message):
        read(str(tmp_path / name), "label")


def test_contradictions_between_files(tmp_path):
    files = {
        "train": [write(tmp_path / "a.tsv", labelled("good", "bad"))],
        "test": [write(tmp_path / "b.jsonl", labelled(0.5))],
    }
    with pytest.raises(ValueError, match=r"b\.jsonl: line 1: 'label' is a decimal number, but at \S+a\.tsv: line 2"):
        read(files, "label")


WRONG = {
    "a word for a number": ("number", "good", "'label' is 'good', not a number"),
    "infinity": ("number", float("inf"), "'label' is inf, which is not a finite number"),
    "a truth value": ("number", True, "'label' is True, not a number"),
    "a decimal name": ("name", 0.5, "'label' is 0.5, not the name of a label"),
    "a blank label in a list": ("names", ["a", " "], "'label' holds the label ' ', which is blank"),
    "no list": ("names", "a", "'label' is 'a', not a list of labels"),
    "a number among texts": ("texts", ["a", 7], "'label' is 7, not text"),
    "half a character": ("name", "\ud83d", "'label' holds half of a surrogate pair"),
    "no answers": ("answers", {"text": ["a"]}, "'label' is .*, not answers such as"),
    "answers of other numbers": ("answers", {"text": ["a"], "answer_start": []}, "'label' has 1 text, but 0 numbers"),
    "a negative place": (
        "answers",
        {"text": ["a"], "answer_start": [-1]},
        r"'label' has answer_start \[-1\], not a list",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_of_another_kind_are_named_with_the_line(tmp_path, case):
    kind, value, message = WRONG[case]
    right = {"number": 1, "name": "a", "names": [], "texts": ["a"], "answers": {"text": [], "answer_start": []}}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, labelled(right[kind], value))))
    with pytest.raises(ValueError, match=rf"a\.jsonl: line 2: {message}"):
        read(str(tmp_path / "a.jsonl"), kind)


@pytest.mark.parametrize(("kind", "field"), [("number", "x"), ("names", "a, b"), ("texts", "[1]"), ("answers", "{")])
def test_fields_of_another_kind_are_named_with_the_line(tmp_path, kind, field):
    path = write(tmp_path / "a.tsv", labelled(field))
    with pytest.raises(ValueError, match=r"a\.tsv: line 2: 'label' is .*, not"):
        read(path, kind)


@pytest.mark.parametrize("name", [*TYPED, "a.tsv"])
def test_answers_of_squad(tmp_path, name):
    answers = [{"text": ["Paris", "in Paris"], "answer_start": [3, 0]}, {"text": [], "answer_start": []}]
    assert read(write(tmp_path / name, labelled(*answers)), "answers") == {"train": answers}


def test_answers_as_a_list_of_objects(tmp_path):
    answers = [[{"text": "Paris", "answer_start": 3, "id": 1}], []]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, labelled(*answers))))
    assert read(str(tmp_path / "a.jsonl"), "answers") == {
        "train": [{"text": ["Paris"], "answer_start": [3]}, {"text": [], "answer_start": []}]
    }


def test_rows_without_a_label_are_empty_rows(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\t1.5\nb\t \n\t2\n")
    (tmp_path / "b.jsonl").write_text('{"text": "c", "label": null}')
    files = [str(tmp_path / name) for name in ("a.tsv", "b.jsonl")]
    with pytest.raises(ValueError, match="empty drop") as error:
        read(files, "label")
    assert f"{files[0]}: 2 rows have nothing in one column: line 3 (no label), line 4 (no text)" in str(error.value)
    assert f"{files[1]}: 1 row has nothing in one column: line 1 (no label)" in str(error.value)
    assert read(files, "label", empty="drop") == {"train": [1.5]}


def test_a_row_with_a_fault_is_named(tmp_path):
    path = write(tmp_path / "a.jsonl", labelled(["x"], ["x", "y"]))
    with pytest.raises(ValueError, match=r"a\.jsonl: line 2: 2 labels of t1"):
        read(path, "names", fault=lambda row: f"2 labels of {row['text']}" if len(row["label"]) == 2 else None)


@pytest.mark.parametrize("saved", [False, True])
def test_classes_of_datasets_have_their_names(tmp_path, saved):
    kinds = {"label": ClassLabel(names=["good", "bad"]), "tags": List(ClassLabel(names=["O", "B"]))}
    rows = [{"text": "a", "label": 1, "tags": [0, 1]}, {"text": "b", "label": 0, "tags": []}]
    table = Dataset.from_list(rows, features=Features({"text": Value("string"), **kinds}))
    folder = tmp_path / "data"
    if saved:
        table.save_to_disk(folder)
        assert load_from_disk(folder).features["label"] == kinds["label"]
    else:
        folder.mkdir()
        table.to_parquet(folder / "train.parquet")
    for kind in ("label", "name"):
        assert read(None, kind, dataset_name=str(folder)) == {"train": ["bad", "good"]}
    assert read(None, "names", column="tags", dataset_name=str(folder)) == {"train": [["O", "B"], []]}


def test_a_class_that_is_kept_secret_is_no_label(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["good", "bad"])})
    Dataset.from_list(labelled(-1, 0), features=features).save_to_disk(tmp_path / "data")
    with pytest.raises(ValueError, match=r"row 1 \(no label\)"):
        read(None, "name", dataset_name=str(tmp_path / "data"))


def test_equal_rows_are_counted(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "t", "label": ["a"]}] * 3)
    _, counts = read_splits(
        {"train": path}, {"text_column": "text", "label_column": Column("label", "names")}, FileOptions()
    )
    assert counts["train"].duplicates == 2


def read_pairs(files, **options) -> list[str]:
    """The columns of the rows, where `text_pair` is optional."""
    columns = {"text_column": "text", "text_pair_column": Column("text_pair", optional=True), "label_column": "label"}
    splits, _ = read_splits({"train": files} if files else {"train": None}, columns, FileOptions(), **options)
    return splits["train"].column_names


@pytest.mark.parametrize("name", [*TYPED, "a.tsv"])
def test_an_optional_column_is_there_or_not(tmp_path, name):
    single, pair = [{"text": "a", "label": "x"}], [{"text": "a", "text_pair": "b", "label": "x"}]
    assert read_pairs(write(tmp_path / name, single)) == ["text", "label"]
    assert read_pairs(write(tmp_path / name, pair)) == ["text", "text_pair", "label"]
    with pytest.raises(ValueError, match=rf"{name}.* has no column 'text_pair'"):
        read_pairs([write(tmp_path / "other.jsonl", pair), write(tmp_path / name, single)])


def test_an_optional_column_of_a_data_set(tmp_path):
    for number, row in enumerate([{"text": "a", "label": "x"}, {"text": "a", "text_pair": "b", "label": "x"}]):
        folder = tmp_path / str(number)
        Dataset.from_list([row]).save_to_disk(folder)
        assert read_pairs(None, dataset_name=str(folder)) == list(row)


def test_a_row_that_lacks_an_optional_value_is_empty(tmp_path):
    path = write(
        tmp_path / "a.tsv",
        [{"text": "a", "text_pair": "b", "label": "x"}, {"text": "a", "text_pair": "", "label": "x"}],
    )
    with pytest.raises(ValueError, match=r"line 3 \(no text_pair\)"):
        read_pairs(path)


def test_a_plain_text_file_has_no_labels(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("a\nb\n")
    with pytest.raises(ValueError, match=r"a\.txt has no column 'label': a plain text file has one column"):
        read([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], "name")


def test_every_kind_says_how_it_is_kept():
    import pyarrow

    for word, kind in KINDS.items():
        assert isinstance(kind.arrow(pyarrow), pyarrow.DataType), word

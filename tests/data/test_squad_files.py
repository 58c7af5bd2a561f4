"""The nested JSON files of SQuAD, versions 1.1 and 2.0, are read as rows of questions, contexts and answers."""

import gzip
import json

import pytest

from triptych.data.formats.kinds import Column
from triptych.data.pairs import read_splits
from triptych.data.readers import FileOptions, file_format

COLUMNS = {
    "question_column": Column("question"),
    "context_column": Column("context"),
    "answers_column": Column("answers", "answers"),
    "id_column": Column("id", "name"),
}


def question(number, *answers, **more):
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f"Question {number}?", "answers": given, **more}


def version_2():
    paragraphs = [
        {
            "context": "Kim is in Oslo.",
            "qas": [
                question(1, ("Oslo", 10), ("in Oslo", 7), is_impossible=False),
                question(2, is_impossible=True, plausible_answers=[{"text": "Kim", "answer_start": 0}]),
            ],
        },
        {"context": "Max is not.", "qas": [question(3, ("Max", 0), is_impossible=False)]},
    ]
    return {"version": "v2.0", "data": [{"title": "People", "paragraphs": paragraphs}]}


def read(path, **options):
    splits, _ = read_splits({"train": str(path)}, COLUMNS, FileOptions(**options))
    return splits["train"]


def written(tmp_path, whole, **options):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(whole, **options))
    return path


@pytest.mark.parametrize("indent", [None, 2])
def test_version_2(tmp_path, indent):
    rows = read(written(tmp_path, version_2(), indent=indent))
    assert rows[:] == {
        "question": ["Question 1?", "Question 2?", "Question 3?"],
        "context": ["Kim is in Oslo.", "Kim is in Oslo.", "Max is not."],
        "answers": [
            {"text": ["Oslo", "in Oslo"], "answer_start": [10, 7]},
            {"text": [], "answer_start": []},
            {"text": ["Max"], "answer_start": [0]},
        ],
        "id": ["q1", "q2", "q3"],
    }


def test_version_1_and_a_compressed_file(tmp_path):
    whole = {
        "data": [{"title": "T", "paragraphs": [{"context": "Kim is in.", "qas": [question(1, ("Kim", 0))]}]}],
        "version": "1.1",
    }
    path = tmp_path / "train-v1.1.json.gz"
    path.write_bytes(gzip.compress(json.dumps(whole).encode()))
    assert file_format(str(path), FileOptions()) == "squad"
    assert read(path)["answers"][:] == [{"text": ["Kim"], "answer_start": [0]}]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_in_json_are_not_taken_for_articles(tmp_path, name):
    rows = read(written(tmp_path, version_2()))
    flat = tmp_path / name
    rows.to_json(flat, lines=name.endswith("l"))
    assert file_format(str(flat), FileOptions()) == name.partition(".")[2]
    assert read(flat)[:] == rows[:]


def test_a_file_can_be_said_to_be_nested(tmp_path):
    path = tmp_path / "squad.txt"
    path.write_text(json.dumps({"comment": 1, **version_2()}))
    assert len(read(path, file_format="squad")) == 3
    assert file_format("a.squad", FileOptions()) == "text"


def set_at(whole, value, *keys):
    """The nested object with another value at a place; None takes the key away."""
    place = whole
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return whole


PARAGRAPH = ("data", 0, "paragraphs", 0)
FIRST, SECOND = (*PARAGRAPH, "qas", 0), (*PARAGRAPH, "qas", 1)


@pytest.mark.parametrize(
    ("value", "place", "message"),
    [
        (None, (*PARAGRAPH, "context"), r"data\[0\]\.paragraphs\[0\] needs the key 'context'.* has|is the keys 'qas'"),
        ([], (*FIRST, "question"), r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: 'question' is \[\]"),
        ("Oslo", (*FIRST, "answers"), r"qas\[0\]: 'answers' is 'Oslo'"),
        ([], (*FIRST, "answers"), r"qas\[0\] has no answers; .*\"is_impossible\": true"),
        ([{"text": "Kim", "answer_start": 0}], (*SECOND, "answers"), r"qas\[1\] is_impossible, but has 1 answer;"),
        ([{"text": "Kim"}], (*FIRST, "answers"), r"qas\[0\]: 'answers' is .*, not answers such as"),
        ([{"text": "Kim", "answer_start": -1}], (*FIRST, "answers"), r"qas\[0\]: 'answers' has answer_start"),
        ({}, ("data",), r"'data' is \{\}, which is not what SQuAD's files have there"),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_its_place(tmp_path, value, place, message):
    path = written(tmp_path, set_at(version_2(), value, *place))
    with pytest.raises(ValueError, match=f"squad.json.*({message})"):
        read(path, file_format="squad")


def test_damaged_files(tmp_path):
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(version_2())[:-30])
    with pytest.raises(ValueError, match=r"squad\.json: line 1: invalid JSON"):
        read(path)
    path.write_text(json.dumps(version_2()) + "{}")
    with pytest.raises(ValueError, match="more text follows"):
        read(path)


def test_another_column_is_refused(tmp_path):
    path = written(tmp_path, version_2())
    with pytest.raises(ValueError, match=r"has no column 'text'; it has 'id', .*--text_column"):
        read_splits({"train": str(path)}, {"text_column": Column("text")}, FileOptions())

"""Data sets by name: directories with files, and what `save_to_disk` wrote."""

import json

import pytest
from datasets import Dataset, DatasetDict

from triptych.data import load_pairs

PAIR = '{"source": "a", "target": "b"}'


def test_a_data_set_by_name(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"en": split, "de": "x", "id": 1}), encoding="utf-8")
    loaded = load_pairs(dataset_name=str(tmp_path), source_column="en", target_column="de")
    assert {split: rows[0] for split, rows in loaded.items()} == {
        split: {"source": split, "target": "x"} for split in ("train", "validation")
    }


def test_a_directory_is_read_as_its_files_are(tmp_path):
    """`load_dataset` would read d1, and nothing where the file says null or NA."""
    (tmp_path / "d1").mkdir()
    (tmp_path / "d1" / "train.csv").write_text("source,target\nwrong,falsch\n")
    data = tmp_path / "d[1]" / "data"
    data.mkdir(parents=True)
    for name, text in (("train-00000-of-00002", "null,007"), ("train-00001-of-00002", "b,NA"), ("my.dev", "c,1e5")):
        (data / f"{name}.csv").write_text(f"source,target\n{text}\n")
    (data / ".hidden.train.csv").write_text("")
    loaded = load_pairs(dataset_name=str(tmp_path / "d[1]"))
    assert {split: rows[:] for split, rows in loaded.items()} == {
        "train": {"source": ["null", "b"], "target": ["007", "NA"]},
        "validation": {"source": ["c"], "target": ["1e5"]},
    }


def test_a_directory_that_datasets_reads(tmp_path):
    """A README.md that describes the files; the name must then not be a pattern."""
    for name in ("plain", "d[1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(
            "---\nconfigs:\n- config_name: default\n  data_files: some.jsonl\n---\n"
        )
        (tmp_path / name / "some.jsonl").write_text(
            '{"source": "a", "target": "b"}\n{"source": "c", "target": null}\n'
        )
    assert load_pairs(dataset_name=str(tmp_path / "plain"), empty="drop")["train"][:] == {
        "source": ["a"],
        "target": ["b"],
    }
    with pytest.raises(ValueError, match=r"plain\[train\]: 1 row has no text on one side: row 2 \(no target\)"):
        load_pairs(dataset_name=str(tmp_path / "plain"))
    (tmp_path / "plain" / "some.jsonl").write_text('{"source": "a", "target": ')
    with pytest.raises(ValueError, match=r"plain cannot be read"):
        load_pairs(dataset_name=str(tmp_path / "plain"))
    with pytest.raises(ValueError, match=r"d\[1\]: .*takes this name as a pattern; rename the directory"):
        load_pairs(dataset_name=str(tmp_path / "d[1]"))


def test_what_save_to_disk_wrote_is_read(tmp_path):
    """Also where the directory's name is a pattern for `datasets`; and nothing is written into it."""
    rows = {"en": ["a", "null", "c"], "de": ["x", "y", "z"]}
    whole = Dataset.from_dict(rows)
    parts = {"train": whole.select([2, 1]), "validation": whole.select([0]), "other": whole}
    directories = {name: tmp_path / "d[1]*" / name for name in ("whole", "parts", "test")}
    whole.save_to_disk(directories["whole"], num_shards=2)
    DatasetDict(parts).save_to_disk(directories["parts"])
    Dataset.from_dict(rows, split="test[:50%]").save_to_disk(directories["test"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    loaded = {
        name: load_pairs(dataset_name=str(directory), source_column="en", target_column="de")
        for name, directory in directories.items()
    }
    assert {name: {split: rows["source"][:] for split, rows in splits.items()} for name, splits in loaded.items()} == {
        "whole": {"train": ["a", "null", "c"]},
        "parts": {"train": ["c", "null"], "validation": ["a"]},
        "test": {"test": ["a", "null", "c"]},
    }
    assert loaded["whole"]["train"].map(lambda row: {"source": row["source"] + "!"})["source"][0] == "a!"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(ValueError, match="was written by save_to_disk, so it has no configurations; leave out"):
        load_pairs(dataset_name=str(directories["whole"]), dataset_config_name="default")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "train/state.json",
            {"_data_files": [{"filename": "../../secret.arrow"}]},
            r"_data_files=\['\.\./\.\./secret",
        ),
        ("train/state.json", {"_data_files": []}, r"_data_files=\[\]"),
        ("train/state.json", {}, "KeyError"),
        ("train/state.json", [], "it holds list, not an object"),
        ("dataset_dict.json", {"splits": ["../secret"]}, r"splits=\['\.\./secret'\]"),
        ("dataset_dict.json", {}, "splits=None"),
        ("train/data-00000-of-00001.arrow", "no arrow", "is damaged"),
        ("train/data-00000-of-00001.arrow", None, "is missing"),
        ("train/state.json", None, "is missing"),
    ],
)
def test_a_saved_data_set_that_is_damaged_is_named(tmp_path, file, content, message):
    directory = tmp_path / "saved"
    DatasetDict(train=Dataset.from_dict({"source": ["a"], "target": ["b"]})).save_to_disk(directory)
    (directory / file).unlink()
    if content is not None:
        (directory / file).write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        load_pairs(dataset_name=str(directory))
    assert str(directory / file) in str(raised.value)
    assert "copy or download it again" in str(raised.value)


def test_a_description_is_no_file_of_rows(tmp_path):
    (tmp_path / "some.jsonl").write_text(PAIR)
    (tmp_path / "dataset_infos.json").write_text("{}")
    assert len(load_pairs(dataset_name=str(tmp_path))["train"]) == 1


def test_names_of_data_sets_that_mean_nothing(tmp_path):
    (tmp_path / "train.test.jsonl").write_text(PAIR)
    with pytest.raises(ValueError, match=r"train\.test\.jsonl: its name says several splits"):
        load_pairs(dataset_name=str(tmp_path))
    with pytest.raises(ValueError, match=r"is a file; name it with --train_file"):
        load_pairs(dataset_name=str(tmp_path / "train.test.jsonl"))

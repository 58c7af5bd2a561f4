import re

import pytest
from transformers import AutoTokenizer

from triptych.tokenization import load_tokenizers, save_tokenizers, train_tokenizer

TEXT = "Turn on the light, isn't it? 😀"


@pytest.fixture(scope="module")
def source(texts):
    return train_tokenizer(texts, "bpe", 300)


@pytest.fixture(scope="module")
def target(texts):
    return train_tokenizer(texts, "wordpiece", 250)


def test_one_tokenizer(source, tmp_path):
    save_tokenizers(tmp_path / "new" / "model", source)
    loaded, none = load_tokenizers(tmp_path / "new" / "model")
    assert none is None
    assert loaded(TEXT)["input_ids"] == source(TEXT)["input_ids"]
    assert sorted(file.name for file in (tmp_path / "new" / "model").iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_separate_tokenizers_beside_a_model(source, target, tmp_path):
    (tmp_path / "model.safetensors").write_text("weights")
    save_tokenizers(tmp_path, source, target)
    loaded = load_tokenizers(str(tmp_path))
    assert [one(TEXT)["input_ids"] for one in loaded] == [one(TEXT)["input_ids"] for one in (source, target)]
    subfolder = AutoTokenizer.from_pretrained(tmp_path, subfolder="target_tokenizer")
    assert subfolder.get_vocab() == target.get_vocab()
    assert (tmp_path / "model.safetensors").read_text() == "weights"


def test_saving_one_tokenizer_over_two_leaves_one(source, target, tmp_path):
    save_tokenizers(tmp_path, source, target)
    save_tokenizers(tmp_path, target)
    loaded, none = load_tokenizers(tmp_path)
    assert none is None
    assert loaded.get_vocab() == target.get_vocab()


def test_only_the_files_of_an_earlier_target_tokenizer_go(source, target, tmp_path):
    save_tokenizers(tmp_path, source, target)
    (tmp_path / "target_tokenizer" / "notes.txt").write_text("precious")
    save_tokenizers(tmp_path, target)
    assert [path.name for path in (tmp_path / "target_tokenizer").iterdir()] == ["notes.txt"]
    assert load_tokenizers(tmp_path)[1] is None


def test_a_folder_that_is_a_link_is_not_followed(source, target, tmp_path):
    save_tokenizers(tmp_path / "other", target)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "target_tokenizer").symlink_to(tmp_path / "other")
    before = {path: path.read_bytes() for path in (tmp_path / "other").iterdir()}
    for tokenizers in ((source,), (source, source)):
        with pytest.raises(FileExistsError, match="is a link; move it away"):
            save_tokenizers(tmp_path / "model", *tokenizers)
    assert {path: path.read_bytes() for path in (tmp_path / "other").iterdir()} == before


@pytest.mark.parametrize("content", ["", "{", "[]", "null", None])
@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json",
        "tokenizer_config.json",
        "target_tokenizer/tokenizer.json",
        "target_tokenizer/tokenizer_config.json",
    ],
)
def test_a_damaged_file_is_named(source, target, tmp_path, name, content):
    save_tokenizers(tmp_path, source, target)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-5] if content is None else content.encode())
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is damaged \(.*\); copy or download it again"):
        load_tokenizers(tmp_path)


def test_tokenizers_in_a_subfolder(source, target, tmp_path):
    save_tokenizers(tmp_path / "best", source, target)
    loaded = load_tokenizers(tmp_path, subfolder="best")
    assert [one.get_vocab() for one in loaded] == [source.get_vocab(), target.get_vocab()]


def test_options_reach_both_tokenizers(source, target, tmp_path):
    save_tokenizers(tmp_path, source, target)
    assert [one.model_max_length for one in load_tokenizers(tmp_path, model_max_length=7)] == [7, 7]


def test_a_failed_save_leaves_what_was_there(source, target, tmp_path, monkeypatch):
    save_tokenizers(tmp_path, source)
    monkeypatch.setattr(target, "save_pretrained", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_tokenizers(tmp_path, source, target)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_errors(source, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path} holds no tokenizer")):
        load_tokenizers(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="it is a file"):
        save_tokenizers(tmp_path / "file", source)

import json
import re
import sys

import pytest
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import import_protobuf

from triptych.tokenization import complete_for_translation, load_tokenizers, save_tokenizers, train_tokenizer

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


# --- files and directories that are not quite a tokenizer's


PIECES = ["<unk>", "<s>", "</s>", "▁a", "▁", "a", "b", "ab"]


def sentencepiece_file(path, model_type=1, **rules):
    """A SentencePiece model of eight pieces; the later, the less likely, but for `ab`."""
    proto = import_protobuf().ModelProto()
    for piece in PIECES:
        kind = {"<unk>": 2, "<s>": 3, "</s>": 3}.get(piece, 1)
        proto.pieces.add(piece=piece, score=-1.0 if piece == "ab" else -float(len(proto.pieces)), type=kind)
    proto.trainer_spec.model_type = model_type
    for name, value in rules.items():
        setattr(proto.normalizer_spec, name, value)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("model_type", [1, 2], ids=["unigram", "bpe"])
def test_a_bare_sentencepiece_model(model_type, tmp_path):
    path = sentencepiece_file(tmp_path / "spiece.model", model_type)
    by_file, by_directory = load_tokenizers(path), load_tokenizers(tmp_path)
    assert by_file[1] is by_directory[1] is None
    tokenizer = by_file[0]
    assert (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        *PIECES[:3],
        None,
    )
    assert tokenizer.tokenize("  ab  ") == ["▁", "ab"]
    assert tokenizer("ab")["input_ids"] == [4, 7, 2] == by_directory[0]("ab")["input_ids"]
    assert tokenizer.decode(tokenizer("ab  b a")["input_ids"], skip_special_tokens=True) == "ab b a"
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved")("ab b")["input_ids"] == tokenizer("ab b")["input_ids"]


@pytest.mark.parametrize("rules", [{}, {"add_dummy_prefix": False}, {"remove_extra_whitespaces": False}], ids=str)
@pytest.mark.parametrize("model_type", [1, 2], ids=["unigram", "bpe"])
def test_a_bare_sentencepiece_model_does_what_sentencepiece_does(model_type, rules, library, tmp_path):
    sentencepiece = library("sentencepiece")
    path = sentencepiece_file(tmp_path / "any.model", model_type, **rules)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours, _ = load_tokenizers(path)
    for text in ("ab", " ab  ba ", "", "   ", "a▁b", "▁ ", "abcab", "\nb", "aab\tb"):
        assert ours(text, add_special_tokens=False)["input_ids"] == theirs.encode(text)
    assert ours.decode(theirs.encode(" ab  ba")) == theirs.decode(theirs.encode(" ab  ba"))


def test_a_tokenizer_json_alone(source, tmp_path):
    source.save_pretrained(tmp_path / "whole")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "tokenizer.json").write_bytes((tmp_path / "whole" / "tokenizer.json").read_bytes())
    for place in (alone, alone / "tokenizer.json"):
        loaded, _ = load_tokenizers(place)
        assert loaded(TEXT)["input_ids"] == source(TEXT)["input_ids"]
        with pytest.raises(ValueError, match=r"neither eos_token nor sep_token .*<pad>, <unk>, <s>, </s>.*eos_token="):
            complete_for_translation(loaded)


@pytest.mark.parametrize(
    ("files", "name", "error", "message"),
    [
        ({}, "runs/missing.model", FileNotFoundError, "no file or directory has this name$"),
        ({}, "./missing", FileNotFoundError, "no file or directory has this name$"),
        ({}, "a/b/missing", FileNotFoundError, "no file or directory has this name$"),
        ({}, "runs/missing", FileNotFoundError, "no file or directory has this name, and no repository"),
        ({"a.model": b"no"}, "a.model", ValueError, "a.model is not a SentencePiece model"),
        ({"a.txt": b"the"}, "a.txt", ValueError, "a.txt is a file, but neither a SentencePiece model .*directory"),
        ({"config.json": b"{}"}, "config.json", ValueError, "config.json is not a tokenizer.json"),
        ({"d/source.spm": b"", "d/target.spm": b""}, "d", ValueError, "Marian tokenizer, but not.*tokenizer_config"),
        ({"d/a.model": b"", "d/b.model": b""}, "d", ValueError, "no file says what a.model, b.model are"),
        ({"d/vocab.json": b"{}", "d/x.txt": b""}, "d", ValueError, "no file says what vocab.json, x.txt are"),
        ({"d/model.safetensors": b""}, "d", FileNotFoundError, "d holds no tokenizer"),
    ],
)
def test_what_is_no_tokenizer_is_named(files, name, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        load_tokenizers(name)
    assert "huggingface.co" not in str(caught.value)


def test_a_sentencepiece_model_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match="SentencePiece model of the kind 'char'; only unigram and bpe"):
        load_tokenizers(sentencepiece_file(tmp_path / "char.model", 4))


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacremoses", None)  # to import it is an error, as where it is not installed
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "FSMTTokenizer", "langs": ["en", "de"]}')
    for name in ("vocab-src.json", "vocab-tgt.json", "merges.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="needs sacremoses; pip install sacremoses"):
        load_tokenizers(tmp_path)


def test_code_beside_a_tokenizer_is_not_run(source, tmp_path, monkeypatch):
    source.save_pretrained(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "trust_remote_code": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizers(tmp_path)[0](TEXT)["input_ids"] == source(TEXT)["input_ids"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "EvilTokenizer"}))
    with pytest.raises(ValueError, match="custom code"):
        load_tokenizers(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("tokenizer_config.json", {"tokenizer_class": 5}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
        ("tokenizer_config.json", {"pad_token": 5}),
        ("tokenizer.json", {"model": {"type": "Evil"}}),
    ],
)
def test_what_a_file_says_that_makes_no_tokenizer_is_refused_in_one_line(tmp_path, file, changes):
    save_tokenizers(tmp_path, train_tokenizer(["one red house"], "bpe", 280))
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(content | changes))
    with pytest.raises(ValueError, match=r"cannot be loaded: |is damaged \(") as error:
        load_tokenizers(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)

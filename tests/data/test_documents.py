"""Documents: from files or streams to token ids; no token is lost, and special tokens stand where they should."""

import gzip

import pytest
from datasets import Dataset, IterableDataset
from tokenizers.processors import TemplateProcessing

from tiny import word_tokenizer
from triptych.data import CausalLMCollator, StreamBatches
from triptych.data.documents import CausalEncoder, MaskedEncoder
from triptych.data.formats.rows import typed
from triptych.data.pairs import read_splits
from triptych.data.readers import FileOptions
from triptych.data.streams import read_all, stream_data_set, stream_files, stream_of_texts
from triptych.tokenization import train_tokenizer

TEXT = typed({"text_column": "text"})
TEXTS = ["the old red cat", "", "a dog-like owl saw the unbelievable cat", "owl"] * 8


@pytest.fixture(scope="module")
def wordpiece():
    return train_tokenizer(TEXTS, "wordpiece", 60, "encoder")


@pytest.fixture(scope="module")
def byte_level():
    return train_tokenizer(TEXTS, "bpe", 300, "decoder")


# ---- a model that continues texts


def test_a_document_has_a_start_and_an_end(byte_level):
    plain = byte_level(TEXTS[:3])["input_ids"]
    assert CausalEncoder(byte_level)(TEXTS[:3]) == [[2, *ids, 3] for ids in plain]


@pytest.mark.parametrize("template", ["<s> $A", "$A </s>", "<s> $A </s>"])
def test_what_the_tokenizer_writes_is_not_repeated(template):
    tokenizer = word_tokenizer("abc")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    assert CausalEncoder(tokenizer)(["a b", "", "c"]) == [[2, 4, 5, 3], [2, 3], [2, 6, 3]]


def test_one_token_for_start_and_end_as_in_gpt2():
    tokenizer = word_tokenizer("abc")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    tokenizer.bos_token = tokenizer.eos_token = "</s>"
    assert CausalEncoder(tokenizer)(["a b", ""]) == [[3, 4, 5, 3], [3, 3]]
    tokenizer.bos_token = None
    assert CausalEncoder(tokenizer)(["a b", ""]) == [[3, 4, 5, 3], [3, 3]]


def test_a_tokenizer_without_end_is_refused():
    tokenizer = word_tokenizer("abc")
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="has neither eos_token nor sep_token"):
        CausalEncoder(tokenizer)


# ---- a model that fills in masked tokens


def test_the_starts_of_words(wordpiece):
    pieces = MaskedEncoder(wordpiece).pieces(TEXTS[:4], 64)
    assert pieces["document"] == [0, 1, 2, 3]
    for ids, starts in zip(pieces["input_ids"], pieces["word_starts"], strict=True):
        for token, start in zip(wordpiece.convert_ids_to_tokens(ids), starts, strict=True):
            expected = -1 if token in ("[CLS]", "[SEP]") else int(not token.startswith("##"))
            assert start == expected
    assert pieces["input_ids"][1] == [2, 3]


@pytest.mark.parametrize("block_size", [3, 4, 7])
def test_long_documents_are_cut_and_no_token_is_lost(wordpiece, block_size):
    pieces = MaskedEncoder(wordpiece).pieces(TEXTS[:4], block_size)
    whole = wordpiece(TEXTS[:4], add_special_tokens=False)["input_ids"]
    joined = [[] for _ in whole]
    for document, ids in zip(pieces["document"], pieces["input_ids"], strict=True):
        assert len(ids) <= block_size
        assert (ids[0], ids[-1]) == (2, 3)
        joined[document] += ids[1:-1]
    assert joined == whole
    assert wordpiece(TEXTS[2])["input_ids"] == [2, *whole[2], 3]  # the tokenizer itself still cuts nothing


@pytest.mark.parametrize("block_size", [3, 6, 40])
def test_packed_documents(wordpiece, block_size):
    texts = ["the old cat", "owl", "a dog-like owl saw the unbelievable cat"]
    rows = MaskedEncoder(wordpiece).packed(texts, block_size)
    ids, starts = rows["input_ids"], rows["word_starts"]
    assert [len(row) for row in ids[:-1]] == [block_size] * (len(ids) - 1)
    assert len(ids[-1]) <= block_size
    assert all((row[0], row[-1]) == (2, 3) for row in ids)
    first, second, third = wordpiece(texts, add_special_tokens=False)["input_ids"]
    assert [token for row in ids for token in row[1:-1]] == [*first, 3, *second, 3, *third]
    alone = MaskedEncoder(wordpiece).pieces(texts, 64)["word_starts"]
    expected = [*alone[0][1:-1], -1, *alone[1][1:-1], -1, *alone[2][1:-1]]
    assert [start for row in starts for start in row[1:-1]] == expected
    assert all((row[0], row[-1]) == (-1, -1) for row in starts)


@pytest.mark.parametrize("rows", ["pieces", "packed"])
def test_a_row_holds_a_token_of_the_text(wordpiece, rows):
    with pytest.raises(ValueError, match="block_size=2 must be at least 3, to hold a token of the text"):
        getattr(MaskedEncoder(wordpiece), rows)(TEXTS[:4], 2)


def test_sentences_are_lines(wordpiece):
    found = MaskedEncoder(wordpiece).sentences(["the old cat\n \na dog\n", "\n"])
    expected = wordpiece(["the old cat", "a dog"], add_special_tokens=False)["input_ids"]
    assert found["tokens"] == [expected, []]
    assert [len(starts) for starts in found["word_starts"][0]] == [len(ids) for ids in expected]
    assert found["word_starts"][0][0][0] == 1


def test_what_a_masked_model_needs_of_a_tokenizer(wordpiece):
    assert set(MaskedEncoder(wordpiece).ordinary_ids()) == set(range(5, len(wordpiece)))
    with pytest.raises(ValueError, match="has no mask_token"):
        MaskedEncoder(word_tokenizer("abc"))


# ---- files and streams


def test_documents_between_blank_lines(tmp_path):
    text = "one\ntwo\n\n \nthree\r\n  four\n\n\n"
    (tmp_path / "a.txt").write_text(text)
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("five\n\nsix")
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt.gz")]
    options = FileOptions(documents="blank_lines")
    read = read_splits({"train": files}, {"text_column": "text"}, options)[0]["train"]["text"][:]
    assert read == ["one\ntwo", "three\n  four", "five", "six"]
    assert [row["text"] for row in stream_files(files, TEXT, options, "error")] == read


def test_documents_are_an_option_of_plain_text(tmp_path):
    (tmp_path / "a.tsv").write_text("text\none\n")
    with pytest.raises(ValueError, match="documents=blank_lines: only for plain text files, and there are none"):
        read_splits({"train": str(tmp_path / "a.tsv")}, {"text_column": "text"}, FileOptions(documents="blank_lines"))
    with pytest.raises(ValueError, match="documents='pages' is unknown; choose from lines, blank_lines"):
        FileOptions(documents="pages")


def test_files_of_all_formats_are_streamed(tmp_path):
    (tmp_path / "a.tsv").write_text("number\tcontent\n1\tone\n2\ttwo\n")
    (tmp_path / "b.jsonl").write_text('{"content": "three"}\n{"content": " "}\n{"content": "four"}\n')
    Dataset.from_dict({"content": ["five"]}).to_parquet(tmp_path / "c.parquet")
    paths = [str(tmp_path / name) for name in ("a.tsv", "b.jsonl", "c.parquet")]
    columns = typed({"text_column": "content"})
    rows = stream_files(paths, columns, FileOptions(), "error")
    assert isinstance(rows, IterableDataset)
    assert [row["text"] for row in rows] == ["one", "two", "three", "four", "five"]  # the blank text is left out
    assert [row["text"] for row in rows] == ["one", "two", "three", "four", "five"]
    assert read_all(rows, columns, "test")["text"][:] == ["one", "two", "three", "four", "five"]
    shuffled = rows.shuffle(3, buffer_size=10)
    orders = []
    for epoch in (0, 1, 0):
        shuffled.set_epoch(epoch)
        orders.append([row["text"] for row in shuffled])
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_every_data_worker_reads_the_whole_stream(tmp_path):
    """The updates are the same with any number of workers, also where there are several files."""
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{name} {number}" for number in range(25)))
    rows = stream_files([str(tmp_path / f"{name}.txt") for name in "ab"], TEXT, FileOptions(), "error")
    rows = rows.shuffle(0, buffer_size=5).map(lambda row: {"input_ids": [*row["text"].encode()]})

    def updates(workers):
        batches = StreamBatches(rows, {"text": "input_ids"}, 30, CausalLMCollator(0), num_workers=workers)
        batches.set_epoch(1)
        return [piece["input_ids"].tolist() for pieces in batches.updates() for piece in pieces]

    alone = updates(0)
    assert sum(map(len, alone)) == 50
    assert updates(2) == alone


def test_mistakes_in_a_stream_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": null}\n')
    path = str(tmp_path / "a.jsonl")
    with pytest.raises(ValueError, match=r"a.jsonl: line 2 has no text\. .*--empty drop"):
        list(stream_files([path], TEXT, FileOptions(), "error"))
    assert list(stream_files([path], TEXT, FileOptions(), "drop")) == [{"text": "one"}]
    with pytest.raises(FileNotFoundError, match=r"absent\.txt does not exist"):
        stream_files([str(tmp_path / "absent.txt")], TEXT, FileOptions(), "error")


def test_a_data_set_is_streamed(tmp_path):
    rows = Dataset.from_dict({"text": ["one", None, " ", "two"], "number": [1, 2, 3, 4]})
    rows.save_to_disk(tmp_path / "saved")
    stream = stream_data_set(str(tmp_path / "saved"), None)["train"]
    assert list(stream_of_texts(stream, TEXT, "saved", "drop")) == [{"text": "one"}, {"text": "two"}]
    with pytest.raises(ValueError, match=r"saved: row 2 has no text\. .*--empty drop"):
        list(stream_of_texts(stream, TEXT, "saved", "error"))
    with pytest.raises(ValueError, match="saved: row 1: 'number' is 1, not text"):
        list(stream_of_texts(stream, typed({"text_column": "number"}), "saved", "drop"))
    with pytest.raises(ValueError, match=r"saved: row 1 has no column 'content'; .*--text_column"):
        list(stream_of_texts(stream, typed({"text_column": "content"}), "saved", "drop"))

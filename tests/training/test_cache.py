"""Tokenized data are kept on the disk: a later run finds them, and finds nothing where anything is different."""

import os
import subprocess
import sys
import time

import pytest
from datasets import Dataset, concatenate_datasets

from triptych.data import cache, tokenize_pairs
from triptych.data.cache import fingerprint_of_rows, keeping, mapped
from triptych.tokenization import train_tokenizer
from triptych.training import LoopArguments
from triptych.training.tasks.translation import TranslationArguments, TranslationTask
from triptych.training.training import Training

PAIRS = [("one house", "ein Haus"), ("two trees", "zwei Bäume"), ("a red tree", "ein roter Baum")] * 9


@pytest.fixture
def pairs():
    return Dataset.from_dict({"source": [s for s, _ in PAIRS], "target": [t for _, t in PAIRS]})


@pytest.fixture
def counted(pairs):
    """Squares numbers with `mapped`, and counts how many it was given."""
    given = []

    def square(row):
        given.append(row["number"])
        return {"square": row["number"] ** 2}

    def run(numbers, depends_on="square"):
        given.clear()
        rows = mapped(Dataset.from_dict({"number": numbers}), square, depends_on)
        assert rows["square"][:] == [number**2 for number in numbers]
        return len(given)

    return run


def test_the_same_work_is_done_once(counted, tmp_path, monkeypatch):
    with keeping(tmp_path / "cache"):
        assert counted([1, 2, 3]) > 0
        assert counted([1, 2, 3]) == 0
        assert counted([1, 2, 4]) > 0
        assert counted([1, 2, 3], "another way") > 0
        monkeypatch.setattr(cache, "fingerprint_of_code", lambda: "edited")
        assert counted([1, 2, 3]) > 0
        monkeypatch.setattr(cache, "version", lambda library: "99")
        assert counted([1, 2, 3]) > 0
    assert counted([1, 2, 3]) > 0  # outside of `keeping` nothing is kept


def test_a_killed_run_leaves_no_half_of_a_file(counted, tmp_path):
    with keeping(tmp_path):
        with pytest.raises(TypeError):
            counted([1, 2, None])
        assert not list(tmp_path.glob("*.arrow"))
        assert counted([1, 2, 3]) > 0
    assert len(list(tmp_path.glob("*.arrow"))) == 1


def test_rows_are_known_by_their_content(pairs):
    known = fingerprint_of_rows(pairs)
    again = concatenate_datasets([pairs.select(range(5)), pairs.select(range(5, len(pairs)))])
    assert fingerprint_of_rows(again) == known
    assert fingerprint_of_rows(pairs.select([*range(len(pairs))][::-1]).select([*range(len(pairs))][::-1])) == known
    long = pairs.cast_column("source", pairs.features["source"].__class__("large_string"))
    assert fingerprint_of_rows(long) == known
    assert fingerprint_of_rows(pairs.select_columns(["target", "source"])) == known
    for other in (
        pairs.select(range(1, len(pairs))),
        pairs.rename_column("source", "origin"),
        pairs.select([1, 0, 2]),
    ):
        assert fingerprint_of_rows(other) != known
    moved = Dataset.from_dict({"source": ["ab", "c"], "target": ["", ""]})
    assert fingerprint_of_rows(moved) != fingerprint_of_rows(
        Dataset.from_dict({"source": ["a", "bc"], "target": ["", ""]})
    )


def train(directory, texts, **options):
    file = directory / "pairs.tsv"
    file.write_text("".join(f"{source}\t{target}\n" for source, target in texts))
    arguments = TranslationArguments(
        train_file=[str(file)], column_names=["source", "target"], preset="tiny", **options
    )
    loop = {"max_steps": 1, "warmup_steps": 1, "report_to": "none", "cpu_threads": 1, "cpu": True}
    loop |= {"overwrite": True, "cache_dir": str(directory / "cache"), "output_dir": str(directory / "run")}
    return Training(TranslationTask(arguments), LoopArguments(**loop))


def test_a_run_finds_what_an_earlier_one_has_tokenized(tmp_path, monkeypatch):
    calls = []
    encode = tokenize_pairs.__globals__["Encoder"].__call__

    def counted_encode(self, texts, *more):
        calls.append(len(texts))
        return encode(self, texts, *more)

    monkeypatch.setattr(tokenize_pairs.__globals__["Encoder"], "__call__", counted_encode)
    first = train(tmp_path, PAIRS, vocab_size=300)
    assert sum(calls) >= 2 * len(PAIRS)
    calls.clear()
    second = train(tmp_path, PAIRS, vocab_size=300)
    assert not calls
    for one, other in zip(first.train_batches, second.train_batches, strict=True):
        assert one[0]["labels"].tolist() == other[0]["labels"].tolist()
    train(tmp_path, PAIRS, vocab_size=290)  # another tokenizer
    assert sum(calls) >= 2 * len(PAIRS)


def test_what_is_refused_is_refused_again(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError, match=r"train data: row 2 .*is too long"):
            train(tmp_path, [("a", "b"), ("a " * 50, "b")], max_sentence_length=20, vocab_size=300)


PROGRAM = """
import sys
from datasets import Dataset
from triptych.data import cache
from triptych.tokenization import load_tokenizers
tokenizer, _ = load_tokenizers(sys.argv[1])
with cache.keeping(sys.argv[2]):
    rows = Dataset.from_dict({"text": ["one house"] * 5})
    cache.mapped(rows, lambda batch: {"ids": tokenizer(batch["text"])["input_ids"]}, tokenizer, batched=True)
"""


@pytest.mark.slow
def test_another_process_finds_it(tmp_path):
    """Hashes of texts differ between processes; the names of files must not."""
    train_tokenizer(["one house", "two trees"] * 5, "bpe", 300).save_pretrained(tmp_path / "tokenizer")
    for seed in ("1", "2"):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "tokenizer"), str(tmp_path / "cache")]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1


SLOW_PROGRAM = """
import sys, time
from datasets import Dataset
from triptych.data import cache

def square(row):
    with open(sys.argv[2], "a") as file:
        file.write("row\\n")
    time.sleep(float(sys.argv[3]))
    return {"square": row["number"] ** 2}

with cache.keeping(sys.argv[1]):
    rows = cache.mapped(Dataset.from_dict({"number": list(range(20))}), square, "square", writer_batch_size=2)
assert rows["square"][:] == [number ** 2 for number in range(20)]
"""


@pytest.mark.slow
def test_processes_that_are_killed_or_that_need_the_same(tmp_path):
    """What a killed process began is not taken for whole; of two processes at once, one does the work."""
    calls = tmp_path / "calls"

    def start(seconds):
        program = tmp_path / "program.py"
        program.write_text(SLOW_PROGRAM)
        return subprocess.Popen([sys.executable, str(program), str(tmp_path / "cache"), str(calls), str(seconds)])

    def done():
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    killed = start(0.5)
    while done() < 6:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    assert not list((tmp_path / "cache").glob("*.arrow"))
    calls.unlink()
    both = [start(0.2), start(0.2)]
    assert [process.wait() for process in both] == [0, 0]
    assert done() < 30  # both of them would make 40 calls
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1

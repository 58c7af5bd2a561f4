"""Directories in, directories out: complete or not at all, in about one copy of the weights."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import triptych
from triptych.conversion.directories import convert_directory


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=53, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2))
    model.generation_config.update(num_beams=3)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="8KB")
    return tmp_path / "theirs"


def weights(directory: Path, model_class=triptych.TriptychDecoderForCausalLM) -> dict:
    return model_class.from_pretrained(directory).state_dict()


def test_the_file_is_what_from_hf_makes(checkpoint: Path, tmp_path: Path):
    convert_directory(checkpoint, tmp_path / "a" / "ours")
    expected, written = triptych.from_hf(checkpoint).state_dict(), weights(tmp_path / "a" / "ours")
    assert expected.keys() == written.keys()
    assert all(torch.equal(value, written[name]) for name, value in expected.items())
    convert_directory(tmp_path / "a" / "ours", tmp_path / "back", to="hf", dtype="bfloat16")
    back = GPT2LMHeadModel.from_pretrained(tmp_path / "back")
    assert (back.dtype, back.generation_config.num_beams) == (torch.bfloat16, 3)
    original = weights(checkpoint, GPT2LMHeadModel)
    assert all(torch.equal(value, original[name].bfloat16()) for name, value in back.state_dict().items())


def test_what_is_there_stays_until_it_may_go(checkpoint: Path, tmp_path: Path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="exists; choose another directory"):
        convert_directory(checkpoint, tmp_path / "ours")
    assert (tmp_path / "ours" / "notes.txt").read_text() == "precious"
    convert_directory(checkpoint, tmp_path / "ours", overwrite=True)
    assert weights(tmp_path / "ours")


def test_a_failure_leaves_nothing_behind(checkpoint: Path, tmp_path: Path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "notes.txt").write_text("precious")

    def fail(directory: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        convert_directory(checkpoint, tmp_path / "ours", overwrite=True, save_extras=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["notes.txt"]


def test_repositories_are_sources_too(checkpoint: Path, tmp_path: Path):
    """In the layout of the Hub's cache, where a download would put it."""
    repository = tmp_path / "hub" / "models--someone--gpt2"
    checkpoint.rename(tmp_path / "files")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (tmp_path / "files").rename(repository / "snapshots" / ("0" * 40))
    options = {"cache_dir": tmp_path / "hub", "local_files_only": True}
    ours = triptych.from_hf("someone/gpt2", **options)
    convert_directory("someone/gpt2", tmp_path / "ours", **options)
    written = weights(tmp_path / "ours")
    assert all(torch.equal(value, written[name]) for name, value in ours.state_dict().items())


def test_mistakes_are_named(checkpoint: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="to='gguf' is unknown; choose from triptych, hf"):
        convert_directory(checkpoint, tmp_path / "ours", to="gguf")
    with pytest.raises(ValueError, match="is the source"):
        convert_directory(checkpoint, checkpoint, overwrite=True)
    with pytest.raises(ValueError, match="holds no Triptych model, but gpt2"):
        convert_directory(checkpoint, tmp_path / "ours", to="hf")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        convert_directory(tmp_path / "nowhere", tmp_path / "ours")


PEAK = """
import sys, threading, time
from transformers.models.gpt2 import modeling_gpt2
from triptych.conversion.directories import convert_directory

def own():
    "Megabytes of this process that no file can be asked for again."
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["RssAnon"].split()[0]) / 1e3

def watch():
    while running:
        peak[0] = max(peak[0], own())
        time.sleep(0.002)

running, before, peak = True, own(), [0.0]
thread = threading.Thread(target=watch)
thread.start()
convert_directory(sys.argv[1], sys.argv[2], to=sys.argv[3], max_shard_size="50MB")
running = False
thread.join()
print(f"PEAK {peak[0] - before:.0f}")
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_there_is_about_one_copy_in_memory(tmp_path: Path):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=8000, n_embd=768, n_layer=12, n_head=12))
    size = 4e-6 * model.num_parameters()
    model.save_pretrained(tmp_path / "theirs", max_shard_size="50MB")
    for source, destination, to in (("theirs", "ours", "triptych"), ("ours", "back", "hf")):
        command = [sys.executable, "-c", PEAK, str(tmp_path / source), str(tmp_path / destination), to]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peak = float(re.search(r"PEAK (\d+)", done.stdout)[1])
        assert 0.5 * size < peak < 1.4 * size, f"{to}: {peak} MB for weights of {size:.0f} MB"

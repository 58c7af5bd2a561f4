"""Directories in, directories out: complete or not at all, in about one copy of the weights."""

import re
import shutil
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
    convert_directory(checkpoint, tmp_path / "ours")
    with pytest.raises(FileExistsError, match="exists; choose another directory"):
        convert_directory(checkpoint, tmp_path / "ours")
    before = (tmp_path / "ours" / "model.safetensors").stat().st_ino
    convert_directory(checkpoint, tmp_path / "ours", overwrite=True)
    assert (tmp_path / "ours" / "model.safetensors").stat().st_ino != before
    assert weights(tmp_path / "ours")
    convert_directory(tmp_path / "ours", tmp_path / "back", to="hf")
    convert_directory(tmp_path / "ours", tmp_path / "back", to="hf", max_shard_size="8KB", overwrite=True)
    assert weights(tmp_path / "back", GPT2LMHeadModel)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "ours", "theirs"]


@pytest.mark.parametrize("name", ["notes.txt", "pytorch_model.bin", ".git", "model_ema.safetensors"])
@pytest.mark.parametrize("is_converted", [False, True])
def test_what_others_wrote_is_not_replaced(
    checkpoint: Path, tmp_path: Path, monkeypatch, name: str, is_converted: bool
):
    (tmp_path / "ours").mkdir()
    if is_converted:
        (tmp_path / "ours").rmdir()
        convert_directory(checkpoint, tmp_path / "ours")
    (tmp_path / "ours" / name).write_text("precious")
    monkeypatch.setattr("triptych.conversion.directories.load", None)  # nothing is read before
    with pytest.raises(FileExistsError, match=f"not written there by the conversion \\({re.escape(name)}\\)"):
        convert_directory(checkpoint, tmp_path / "ours", overwrite=True)
    assert (tmp_path / "ours" / name).read_text() == "precious"


def test_a_checkpoint_of_others_is_not_replaced(checkpoint: Path, tmp_path: Path):
    """Though all of its names are names that the conversion writes."""
    shutil.copytree(checkpoint, tmp_path / "other")
    triptych.from_hf(checkpoint).save_pretrained(tmp_path / "mine")
    for name in ("other", "mine"):
        with pytest.raises(FileExistsError, match="not written there by the conversion"):
            convert_directory(checkpoint, tmp_path / name, overwrite=True)
        assert (tmp_path / name / "config.json").is_file()


def test_the_source_is_in_no_danger(checkpoint: Path, tmp_path: Path, monkeypatch):
    """From the directory of the source, from its parent, through a link."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "link").symlink_to(checkpoint)
    before = sorted(tmp_path.rglob("*"))
    for source, destination, message in (
        ("../theirs", ".", "is or contains the current directory"),
        ("../theirs", "..", "contains the source"),
        ("../theirs/", "../theirs", "is the source"),
        ("../link", "../theirs/ours", "lies in the source"),
        ("../theirs", "../link", "is a link"),
        ("../theirs", tmp_path, "contains the source"),
    ):
        for overwrite in (False, True):
            with pytest.raises((ValueError, OSError), match=message):
                convert_directory(source, destination, overwrite=overwrite)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_leaves_nothing_behind(checkpoint: Path, tmp_path: Path):
    convert_directory(checkpoint, tmp_path / "ours")

    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        convert_directory(checkpoint, tmp_path / "ours", overwrite=True, save_extras=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]
    assert weights(tmp_path / "ours")


def damaged(path: Path, content: bytes | None = None) -> Path:
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    return path


@pytest.mark.parametrize("content", [None, b"", b"null", b"[]", b"\xff\xfe"])
@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "model.safetensors.index.json", "model-00002-of-.*"]
)
def test_a_damaged_file_is_named(checkpoint: Path, tmp_path: Path, name: str, content: bytes | None):
    ours = tmp_path / "ours"
    if content is None:
        convert_directory(checkpoint, ours, max_shard_size="8KB")
    for directory in (checkpoint, *([ours] if content is None else [])):
        [path] = [path for path in directory.iterdir() if re.fullmatch(name, path.name)]
        damaged(path, content)
        uses = [lambda: convert_directory(checkpoint, tmp_path / "new"), lambda: triptych.from_hf(checkpoint)]
        if directory == ours:
            uses = [
                lambda: convert_directory(ours, tmp_path / "new", to="hf"),
                lambda: triptych.TriptychDecoderForCausalLM.from_pretrained(ours),
            ]
        for use in uses:
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is damaged \(.*\); copy or download"):
                use()
        assert not (tmp_path / "new").exists()


def test_a_damaged_file_of_a_repository_is_named(checkpoint: Path, tmp_path: Path):
    options = in_the_hubs_cache(checkpoint, tmp_path)
    snapshot = tmp_path / "hub" / "models--someone--gpt2" / "snapshots" / ("0" * 40)
    path = damaged(next(snapshot.glob("model-00001-of-*")))
    with pytest.raises(ValueError, match=rf"{path.name} is damaged \(.*\); delete it, so that it is downloaded again"):
        triptych.from_hf("someone/gpt2", **options)


def in_the_hubs_cache(checkpoint: Path, tmp_path: Path) -> dict:
    """Moves a checkpoint to where a download would put it; the options by which it is found."""
    repository = tmp_path / "hub" / "models--someone--gpt2"
    checkpoint.rename(tmp_path / "files")
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (tmp_path / "files").rename(repository / "snapshots" / ("0" * 40))
    return {"cache_dir": tmp_path / "hub", "local_files_only": True}


def test_repositories_are_sources_too(checkpoint: Path, tmp_path: Path):
    """In the layout of the Hub's cache."""
    options = in_the_hubs_cache(checkpoint, tmp_path)
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

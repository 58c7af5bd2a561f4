"""The commands of docs/training/ run as they are shown, on small files and tiny models with the names of a page."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from accelerate.state import AcceleratorState

import triptych_command
from tiny import word_tokenizer
from triptych.tokenization import load_tokenizers

PAGES = Path(__file__).parents[2] / "docs" / "training"
# What bounds a training that would take an hour.
BOUNDS = "--max_steps 2 --logging_steps 1 --cpu --cpu_threads 1 --report_to none"
PAIRS = [(f"the house {i}", f"das Haus {i}") for i in range(12)]
WORDS = sorted({word for pair in PAIRS for text in pair for word in text.split()})


def commands(page: str) -> list[str]:
    """The command lines in the blocks of a page that are called bash."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def write_pairs(*names: str) -> None:
    for name in names:
        rows = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
        Path(name).write_text(f"source\ttarget\n{rows}", encoding="utf-8")


def make_marian(name: str) -> None:
    """A tiny translator of transformers, with a tokenizer."""
    tokenizer = word_tokenizer(WORDS)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0}
    torch.manual_seed(0)
    transformers.MarianMTModel(transformers.MarianConfig(**sizes, **heads, **tokens)).save_pretrained(name)
    tokenizer.save_pretrained(name)


def prepare_checkpoints() -> None:
    make_marian("Helsinki-NLP/opus-mt-en-de")
    write_pairs("pairs.tsv", "more.tsv")


def check_checkpoints() -> None:
    assert type(transformers.AutoModelForSeq2SeqLM.from_pretrained("marian/hf")).__name__ == "MarianMTModel"
    for name in ("translator", "better", "frozen", "adapted", "marian", "two", "divided"):
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(name)
        assert type(model).__name__ == "TriptychForConditionalGeneration"
        assert load_tokenizers(name)[0]("the house").input_ids


def prepare_sizes() -> None:
    write_pairs("pairs.tsv")


def check_sizes() -> None:
    assert sorted(path.name for path in Path().iterdir()) == ["pairs.tsv", "translator"]
    config = transformers.AutoConfig.from_pretrained("translator")
    assert (config.encoder_layers, config.hidden_size) == (2, 128)  # the first row of the table


# Page → what makes the files that it names, and what looks at the results.
USES: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "checkpoints": (prepare_checkpoints, check_checkpoints),
    "sizes": (prepare_sizes, check_sizes),
}


def test_every_page_is_run():
    assert sorted(USES) == sorted(path.stem for path in PAGES.glob("*.md"))


@pytest.mark.slow
@pytest.mark.integrations("peft")
@pytest.mark.parametrize("page", USES)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)  # which the command replaces
    prepare, check = USES[page]
    prepare()
    lines = commands(page)
    assert lines
    for line in lines:
        words = [*shlex.split(line), *BOUNDS.split()]
        if words[0] == "triptych":  # in this process, which has loaded torch already
            AcceleratorState._reset_state(True)
            triptych_command.main(words[1:])
        else:
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            environment = os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(words, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    check()

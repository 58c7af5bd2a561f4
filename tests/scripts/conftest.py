"""A tiny corpus, and a translator that is trained on it."""

import json
import random
import subprocess

import pytest

from .running import WORDS, run


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """train, validation and test files of word-by-word translations."""
    directory, generator = tmp_path_factory.mktemp("pairs"), random.Random(0)
    for split, size in (("train", 300), ("validation", 20), ("test", 30)):
        sources = [[generator.choice(list(WORDS)) for _ in range(generator.randint(1, 5))] for _ in range(size)]
        lines = [f"{' '.join(words)}\t{' '.join(WORDS[word] for word in words)}" for words in sources]
        (directory / f"{split}.tsv").write_text("source\ttarget\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def options(pairs):
    """Options of train_translation.py for a run of seconds."""
    return {
        "train_file": pairs / "train.tsv",
        "validation_file": pairs / "validation.tsv",
        "preset": "tiny",
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "tokenizer_model": "word",
        "vocab_size": 40,
        "max_tokens": 400,
        "warmup_steps": 20,
        "logging_steps": 5,
        "evaluation_pairs": 5,
        "cpu_threads": 1,
        "report_to": "none",
    }


@pytest.fixture(scope="session")
def translator(pairs, options, once):
    """A finished run of the script: (its process, its directory)."""
    extra = {"test_file": pairs / "test.tsv", "max_steps": 60, "report_to": "tensorboard", "final_weights": "average"}

    def train(folder):
        done = run("train_translation.py", output_dir=folder / "translator", **(options | extra))
        (folder / "process.json").write_text(json.dumps(vars(done), default=str))

    folder = once("trained-translator", train)
    done = subprocess.CompletedProcess(**json.loads((folder / "process.json").read_text()))
    return done, folder / "translator"

"""Data and options for tiny classifiers and taggers."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ANIMALS, WORDS = ("cat", "dog", "owl"), ("the", "a", "old", "red", "saw", "ran")
NAMES, OTHERS = ("Ann", "Bob", "Cem"), ("sees", "hears", "the", "old", "dog")
SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
OPTIONS = {
    "preset": "tiny-encoder",
    **SIZES,
    "num_hidden_layers": 1,
    "tokenizer_model": "word",
    "vocab_size": 40,
    "max_tokens": 300,
    "lr_scheduler": "constant",
    "learning_rate": 1e-2,
    "warmup_steps": 0,
    "report_to": "none",
    "cpu_threads": 1,
    "dropout": 0.0,
}
NONE_IS_TRAINED = {"tokenizer_model": None, "vocab_size": None}  # where a tokenizer is given
LAYERS = {"num_hidden_layers": None, "encoder_layers": 1, "decoder_layers": 1}
FAMILIES = {
    "encoder": {},
    "decoder": {"preset": "tiny-decoder"},
    "encoder-decoder": {"preset": "tiny", **LAYERS},
}
# Problem → the label of a text about an animal.
LABELS: dict[str, Callable[[str], Any]] = {
    "single": lambda animal: animal,
    "numbers": ANIMALS.index,
    "several": lambda animal: ["other"] if animal == "owl" else [animal, "mammal"],
    "regression": lambda animal: ANIMALS.index(animal) - 1.5,
}


def texts_and_animals() -> list[tuple[str, str]]:
    """Every three words around an animal, in a random order that is always the same."""
    texts = [(f"{a} {b} {animal} {c}", animal) for a in WORDS for b in WORDS for c in WORDS for animal in ANIMALS]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    return [texts[row] for row in order]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Writes a jsonl file."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def write_texts(
    folder: Path, label: str = "single", sizes: Sequence[int] = (300, 10, 20), pairs: bool = False
) -> dict[str, Path]:
    """Writes the files of three splits; returns the options that name them. In pairs, the animal is in the second."""
    files, start = {}, 0
    rows = [{"text": text, "label": LABELS[label](animal)} for text, animal in texts_and_animals()]
    if pairs:
        rows = [
            row | {"text": " ".join(row["text"].split()[:2]), "text_pair": " ".join(row["text"].split()[2:])}
            for row in rows
        ]
    for split, size in zip(("train", "validation", "test"), sizes, strict=True):
        files[f"{split}_file"] = write_rows(folder / f"{split}.jsonl", rows[start : start + size])
        start += size
    return files


def sentences(number: int, seed: int = 0, longest: int = 8) -> list[list[str]]:
    """Sentences of words in a random order."""
    generator, words = torch.Generator().manual_seed(seed), [*NAMES, *OTHERS]
    lengths = torch.randint(2, longest, (number,), generator=generator).tolist()
    return [[words[word] for word in torch.randint(len(words), (n,), generator=generator)] for n in lengths]


def write_sentences(folder: Path, sizes: Sequence[int] = (200, 10, 15), longest: int = 8) -> dict[str, Path]:
    """Writes CoNLL files in which every name is a person; returns the options that name them."""
    files = {}
    for seed, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        blocks = [
            "".join(f"{word} x {'B-PER' if word in NAMES else 'O'}\n" for word in words)
            for words in sentences(size, seed, longest)
        ]
        files[f"{split}_file"] = folder / f"{split}.conll"
        files[f"{split}_file"].write_text("\n".join(blocks))
    return files

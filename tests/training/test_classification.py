"""Classification: one label, several, regression and pairs, from nothing and from checkpoints, in every family."""

import json

import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from transformers import pipeline

import triptych
from triptych.commands.finetune_classification import main

ANIMALS, WORDS = ("cat", "dog", "owl"), ("the", "a", "old", "red", "saw", "ran")
OPTIONS = {
    "preset": "tiny-encoder",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "tokenizer_model": "word",
    "vocab_size": 40,
    "max_tokens": 300,
    "lr_scheduler": "constant",
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "max_steps": 50,
    "evaluation_steps": 50,
    "save_steps": 50,
    "report_to": "none",
    "cpu_threads": 1,
    "dropout": 0.0,
}
FAMILY = {
    "encoder": {"preset": "tiny-encoder"},
    "decoder": {"preset": "tiny-decoder"},
    "encoder-decoder": {"preset": "tiny", "num_hidden_layers": None, "encoder_layers": 1, "decoder_layers": 1},
}
AS_LABEL = {
    "names": lambda animal: animal,
    "numbers": lambda animal: ANIMALS.index(animal),
    "several": lambda animal: [animal, "feline" if animal == "cat" else "other"],
    "regression": lambda animal: float(ANIMALS.index(animal)) - 1.5,
}


def sentences():
    """Every three words around an animal, in a fixed random order."""
    texts = [(f"{a} {b} {animal} {c}", animal) for a in WORDS for b in WORDS for c in WORDS for animal in ANIMALS]
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))
    return [texts[row] for row in order]


def write(folder, as_label=AS_LABEL["names"], suffix="jsonl", sizes=(300, 10, 20), columns=("text", "label")):
    """The files of the three splits; returns the options that name them."""
    rows, files, start = (
        [dict(zip(columns, (text, as_label(animal)), strict=True)) for text, animal in sentences()],
        {},
        0,
    )
    for split, size in zip(("train", "validation", "test"), sizes, strict=True):
        path, table = folder / f"{split}.{suffix}", Dataset.from_list(rows[start : start + size])
        table.to_json(path) if suffix == "jsonl" else table.to_csv(path, sep="\t" if suffix == "tsv" else ",")
        files[f"{split}_file"], start = path, start + size
    return files


def run(output_dir, **options):
    """Runs the command in this process; an option None is left out. Returns the scores and the predictions."""
    AcceleratorState._reset_state(True)
    words = ["--cpu", "--output_dir", str(output_dir)]
    for name, value in (OPTIONS | options).items():
        if value is not None:
            words += (
                [f"--{name}"]
                if value is True
                else [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
            )
    main(words)
    read = [output_dir / name for name in ("test_metrics.json", "test_predictions.jsonl")]
    if not read[1].exists():
        return None, []
    return json.loads(read[0].read_text()), [json.loads(line) for line in read[1].read_text().splitlines()]


@pytest.mark.parametrize("family", FAMILY)
def test_every_family_learns_and_its_pipeline_gives_the_same_labels(tmp_path, family):
    files = write(tmp_path)
    scores, predictions = run(tmp_path / "run", **FAMILY[family], **files)
    assert scores.keys() == {"accuracy", "f1_macro", "matthews_correlation"}
    assert scores["accuracy"] > 0.9
    assert {row["label"] for row in predictions} == set(ANIMALS)
    texts = [json.loads(line)["text"] for line in files["test_file"].read_text().splitlines()]
    for make in (pipeline, triptych.pipeline):
        answers = make("text-classification", str(tmp_path / "run"), device="cpu")(texts)
        assert [answer["label"] for answer in answers] == [row["label"] for row in predictions]
        assert [answer["score"] for answer in answers] == pytest.approx(
            [row["score"] for row in predictions], abs=1e-5
        )

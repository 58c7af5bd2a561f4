"""Tagging: words and sub-words, long sentences, entities; from CoNLL files and from lists."""

import json

import torch
from accelerate.state import AcceleratorState
from transformers import pipeline

import triptych
from triptych.commands.finetune_tagging import main

NAMES, OTHERS = ("Ann", "Bob", "Cem"), ("sees", "hears", "the", "old", "dog")
OPTIONS = {
    "preset": "tiny-encoder",
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "vocab_size": 280,
    "max_tokens": 400,
    "lr_scheduler": "constant",
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "max_steps": 30,
    "evaluation_steps": 30,
    "save_steps": 30,
    "report_to": "none",
    "cpu_threads": 1,
    "dropout": 0.0,
}


def sentences(number, seed=0, longest=8):
    """Sentences in which every name is a person; the words are in a random order."""
    generator = torch.Generator().manual_seed(seed)
    words = [*NAMES, *OTHERS]
    drawn = [
        torch.randint(len(words), (int(torch.randint(2, longest, (), generator=generator)),), generator=generator)
        for _ in range(number)
    ]
    return [[words[word] for word in row] for row in drawn]


def entity_tags(words):
    return [
        "O" if word not in NAMES else "I-PER" if before in NAMES else "B-PER"
        for before, word in zip(["", *words], words, strict=False)
    ]


def write(folder, suffix="conll", tags=entity_tags, sizes=(200, 10, 15), longest=8):
    """The files of the three splits; returns the options that name them."""
    files = {}
    for seed, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        rows = [(words, tags(words)) for words in sentences(size, seed, longest)]
        path = files[f"{split}_file"] = folder / f"{split}.{suffix}"
        if suffix == "conll":
            blocks = ["".join(f"{word} x {tag}\n" for word, tag in zip(*row, strict=True)) for row in rows]
            path.write_text("\n".join(blocks))
        else:
            path.write_text("\n".join(json.dumps({"tokens": words, "tags": tags}) for words, tags in rows))
    return files


def run(output_dir, **options):
    """Runs the command in this process. Returns the scores and the predictions."""
    AcceleratorState._reset_state(True)
    words = [
        str(word) for name, value in (OPTIONS | options).items() for word in (f"--{name}", value) if value is not None
    ]
    main(["--cpu", "--output_dir", str(output_dir), *words])
    predictions = (output_dir / "test_predictions.jsonl").read_text().splitlines()
    return json.loads((output_dir / "test_metrics.json").read_text()), [json.loads(line) for line in predictions]


def test_entities_are_learnt_and_the_pipeline_gives_the_same_tags(tmp_path):
    files = write(tmp_path)
    scores, predictions = run(tmp_path / "run", **files)
    assert scores.keys() == {"accuracy", "precision", "recall", "f1", "by_type"}
    assert scores["f1"] > 0.8
    for make in (pipeline, triptych.pipeline):
        tagger = make("token-classification", str(tmp_path / "run"), device="cpu", ignore_labels=[])
        for row in predictions:
            text = " ".join(row["tokens"])
            starts = [len(" ".join(row["tokens"][:number])) for number in range(len(row["tokens"]))]
            found = {answer["start"]: answer["entity"] for answer in tagger(text)}
            first = [min(place for place in found if place >= start) for start in starts]
            assert [found[place] for place in first] == row["tags"]

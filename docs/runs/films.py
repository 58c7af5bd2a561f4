"""Sentences of film reviews with the sign of their score: films-{train,validation,test}.jsonl; also texts.txt."""

import json
from pathlib import Path


def snippets(name: str) -> list[tuple[float, str]]:
    """Score and text of each line of a file of the VADER data."""
    lines = Path(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read_text(encoding="utf-8").rstrip().split("\n")
    fields = [line.split("\t") for line in lines]
    return [(float(score), " ".join(text.split())) for _, score, text in fields]


films = [(text, "good" if score > 0 else "bad") for score, text in snippets("movieReviewSnippets") if score]
train = [row for number, row in enumerate(films) if number % 10 > 1]
for split, rows in {"train": train, "validation": films[1::10], "test": films[::10]}.items():
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
    Path(f"films-{split}.jsonl").write_text("".join(lines), encoding="utf-8")

# Sentences on films (of the training data alone), products and politics.
texts = [text for name in ("amazonReviewSnippets", "nytEditorialSnippets") for _, text in snippets(name)]
Path("texts.txt").write_text("\n".join([*texts, *(text for text, _ in train)]), encoding="utf-8")

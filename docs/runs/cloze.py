"""Questions on the Brown corpus in the manner of the Children's Book Test (Hill et al. 2016): which name is left out?

The context of a question is five sentences. The question is the sentence that follows, with `___` in place of a name
that the context has. Writes cloze-{train,validation,test}.jsonl and prints how often two simple rules find the name.
"""

import json
from pathlib import Path

LENGTH = 5
splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
right = {"the last name": 0, "the name that is there most often": 0}
for number, document in enumerate(sorted(Path("package").glob("c[a-r][0-9][0-9]"))):
    split = {0: "test", 1: "validation"}.get(number % 20, "train")  # whole documents
    lines = [line.split() for line in document.read_text(encoding="utf-8").split("\n") if line.strip()]
    sentences = [[word.rpartition("/")[::2] for word in line] for line in lines]
    for first in range(len(sentences) - LENGTH):
        context = [pair for sentence in sentences[first : first + LENGTH] for pair in sentence]
        question = sentences[first + LENGTH]
        names = [word for word, tag in context if tag == "np"]
        answer = next((word for word, tag in question if tag == "np" and word in names), None)
        if answer is None or len(set(names)) < 3:
            continue  # nothing to ask, or nothing to choose from
        words = [word for word, _ in context]
        place = len(words) - 1 - words[::-1].index(answer)  # the last time
        row = {
            "question": " ".join("___" if word == answer else word for word, _ in question),
            "context": " ".join(words),
            "answers": {"text": [answer], "answer_start": [len(" ".join([*words[:place], ""]))]},
        }
        splits[split].append(json.dumps(row) + "\n")
        if split == "test":
            right["the last name"] += names[-1] == answer
            right["the name that is there most often"] += max(names[::-1], key=names.count) == answer
for split, rows in splits.items():
    Path(f"cloze-{split}.jsonl").write_text("".join(rows), encoding="utf-8")
for rule, count in right.items():
    print(f"{rule}: {100 * count / len(splits['test']):.1f} % of {len(splits['test'])} questions")

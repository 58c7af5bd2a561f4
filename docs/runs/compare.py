"""Fine-tunes a checkpoint with transformers' own class in a plain loop: what `triptych` is compared with.

    python compare.py CHECKPOINT TRAIN_FILE TEST_FILE STEPS

The files are jsonl, with the columns text and label or tokens and tags. Optimizer, schedule and batches are made as
the plan of Triptych for a checkpoint of this width makes them.
"""

import random
import sys

import torch
import transformers
from datasets import load_dataset

TOKENS, LEARNING_RATE, WARMUP = 1000, 1e-4, 0.06
checkpoint, train_file, test_file, steps = *sys.argv[1:4], int(sys.argv[4])
files = {"train": train_file, "test": test_file}
data = load_dataset("json", data_files=files, cache_dir="compare-cache")
tagging = "tags" in data["train"].column_names
column = "tags" if tagging else "label"
names = sorted({name for value in data["train"][column] for name in (value if tagging else [value])})
random.seed(0)
transformers.set_seed(0)
tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
kind = transformers.AutoModelForTokenClassification if tagging else transformers.AutoModelForSequenceClassification
model = kind.from_pretrained(checkpoint, num_labels=len(names))


def encode(row: dict) -> dict:
    """The ids of a row with the number of its label, or of each word's tag at the first token of the word."""
    if not tagging:
        return {"input_ids": tokenizer(row["text"], truncation=True).input_ids, "labels": [names.index(row["label"])]}
    encoded = tokenizer(row["tokens"], is_split_into_words=True, truncation=True)
    words = encoded.word_ids()
    starts = [word is not None and word != before for before, word in zip([None, *words], words, strict=False)]
    tags = [names.index(row["tags"][word]) if start else -100 for word, start in zip(words, starts, strict=True)]
    return {"input_ids": encoded.input_ids, "labels": tags}


def batches(rows: list[dict]) -> list[dict[str, torch.Tensor]]:
    """Rows of nearly the same length together, at most TOKENS of them with their padding."""
    groups: list[list[dict]] = [[]]
    for row in sorted(rows, key=lambda row: len(row["input_ids"])):
        if groups[-1] and (len(groups[-1]) + 1) * len(row["input_ids"]) > TOKENS:
            groups.append([])
        groups[-1].append(row)
    made = []
    for group in groups:
        length = len(group[-1]["input_ids"])
        ids = torch.tensor(
            [row["input_ids"] + [tokenizer.pad_token_id] * (length - len(row["input_ids"])) for row in group]
        )
        labels = [row["labels"] + [-100] * (length - len(row["labels"]) if tagging else 0) for row in group]
        mask = (ids != tokenizer.pad_token_id).long()
        made.append({"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(labels)})
    return made


matrices = [value for value in model.parameters() if value.ndim > 1]
vectors = [value for value in model.parameters() if value.ndim < 2]
groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
# As many rows as the updates can hold: not all of a large file are encoded.
train = batches(
    [encode(row) for row in data["train"].shuffle(seed=0).select(range(min(len(data["train"]), 60 * steps)))]
)
random.shuffle(train)
model.train()
for step in range(steps):
    model(**train[step % len(train)]).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad()

model.eval()
right = asked = 0
with torch.inference_mode():
    for batch in batches([encode(row) for row in data["test"]]):
        answers = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
        labels = batch["labels"] if tagging else batch["labels"][:, 0]
        right += (answers == labels).logical_and(labels != -100).sum().item()
        asked += (labels != -100).sum().item()
print(f"accuracy {right / asked:.4f} of {asked}")

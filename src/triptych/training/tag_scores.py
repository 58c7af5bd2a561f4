"""How tags are scored: by entities, where they mark some (IOB and its relatives), or else one by one."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .metrics import load_metric

ENTITY = re.compile(r"([BIESLU])-(.+)")  # a tag that marks a part of an entity
OUTSIDE = "O"  # the tag of a word that belongs to no entity

Tags = Sequence[Sequence[str]]  # of each word of each sentence


def score_entities(given: Tags, right: Tags) -> dict[str, Any]:
    """Returns precision, recall and F1 of the entities, over all types and for each, and the accuracy of the tags."""
    scores = load_metric("seqeval").compute(predictions=given, references=right)
    types = {name: values for name, values in scores.items() if isinstance(values, dict)}
    overall = {name: scores[f"overall_{name}"] for name in ENTITIES.scores}
    return overall | {"by_type": types}


def score_tags(given: Tags, right: Tags) -> dict[str, Any]:
    """Returns the accuracy of the tags, the mean of their F1, and the F1 of each."""
    predictions, references = list(chain.from_iterable(given)), list(chain.from_iterable(right))
    by_tag = load_metric("f1").compute(predictions=predictions, references=references, average=None)["f1"]
    accuracy = load_metric("accuracy").compute(predictions=predictions, references=references)["accuracy"]
    return {"accuracy": accuracy, "f1_macro": sum(by_tag.values()) / len(by_tag), "f1_by_tag": by_tag}


@dataclass(frozen=True)
class Scoring:
    """A way to score tags: the names of its scores, and the function that gives them for (given, right)."""

    scores: tuple[str, ...]
    score: Callable[[Tags, Tags], dict[str, Any]]


ENTITIES = Scoring(("accuracy", "precision", "recall", "f1"), score_entities)
SINGLE_TAGS = Scoring(("accuracy", "f1_macro"), score_tags)


def scoring_of(names: Collection[str]) -> Scoring:
    """Returns how tags with these names are scored: by entities, if each is `O` or like `B-PER`."""
    marks = [name for name in names if ENTITY.fullmatch(name)]
    return ENTITIES if marks and all(name == OUTSIDE or name in marks for name in names) else SINGLE_TAGS


def continued(tag: str, names: Collection[str]) -> str:
    """Returns the tag of the further tokens of a word: B-PER continues as I-PER, if there is such a tag."""
    match = ENTITY.fullmatch(tag)
    inside = f"I-{match[2]}" if match and match[1] == "B" else tag
    return inside if inside in names else tag

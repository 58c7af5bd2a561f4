"""The problems of classification: what labels are, how a model learns them, and how its answers are scored."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from transformers import PreTrainedConfig

from ..data.collators import IGNORED
from .labels import Labels, checkpoint_names, names_in
from .metrics import load_metric

if TYPE_CHECKING:
    from datasets import Dataset

LABEL = "label"  # the column of the labels
THRESHOLD = 0.5  # the probability from which on one of several labels is given


def computed(metric: str, predictions: Sequence[Any], references: Sequence[Any], **options: Any) -> float:
    """Returns the only number of a metric of `load_metric`."""
    [value] = load_metric(metric).compute(predictions=predictions, references=references, **options).values()
    return float(value)


class Problem:
    """What is learnt from a column of labels; the base class of the problems in `PROBLEMS`.

    Attributes:
        kind: what the column holds, a key of `triptych.data.formats.kinds.KINDS`.
        use: the code of a model card, see `triptych.training.card.uses`.
        scores: the names of the scores.
    """

    kind: ClassVar[str]
    use: ClassVar[str]
    scores: ClassVar[Sequence[str]]

    def __init__(self, train: "Dataset", checkpoint: PreTrainedConfig | None = None) -> None:
        """Looks at the training data, and at the labels in the configuration of a checkpoint.

        Raises:
            ValueError: there is nothing to learn.
        """

    def check(self, split: str, rows: "Dataset") -> None:
        """Raises ValueError if a label cannot be scored, because the training data do not have it."""

    def fields(self) -> dict[str, Any]:
        """Returns fields of the configuration."""
        raise NotImplementedError

    def targets(self, labels: Sequence[Any]) -> list[Any]:
        """Returns the values of the column `labels` from which a batch is made."""
        raise NotImplementedError

    def collation(self) -> Mapping[str, Any]:
        """Returns the arguments of `PaddingCollator` for the column `labels`."""
        raise NotImplementedError

    def decide(self, logits: Tensor) -> list[dict[str, Any]]:
        """Returns the answers that logits (rows, labels) give; `label` has the form of the column of the labels."""
        raise NotImplementedError

    def score(self, answers: Sequence[dict[str, Any]], labels: Sequence[Any]) -> dict[str, Any]:
        """Returns the scores of answers."""
        raise NotImplementedError


class NamedLabels(Problem):
    """What one label and several labels have in common."""

    least: ClassVar[int] = 2

    def __init__(self, train: "Dataset", checkpoint: PreTrainedConfig | None = None) -> None:
        self.labels = Labels(names_in(train, LABEL), checkpoint_names(checkpoint), self.least)

    def check(self, split: str, rows: "Dataset") -> None:
        self.labels.check(split, rows, LABEL)

    def fields(self) -> dict[str, Any]:
        return self.labels.fields()


class SingleLabel(NamedLabels):
    """One label for each text: the most probable one."""

    kind = "name"
    use = "text-classification"
    scores = ("accuracy", "f1_macro", "matthews_correlation")

    def targets(self, labels: Sequence[str]) -> list[int]:
        return [self.labels.numbers[label] for label in labels]

    def collation(self) -> Mapping[str, Any]:
        return {"numbers": {"labels": IGNORED}}

    def decide(self, logits: Tensor) -> list[dict[str, Any]]:
        best = logits.softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": self.labels.names[number], "score": score} for number, score in pairs]

    def score(self, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
        given, right = [answer["label"] for answer in answers], [self.labels.name_of(label) for label in labels]
        return {
            "accuracy": computed("accuracy", given, right),
            "f1_macro": computed("f1", given, right, average="macro"),
            "matthews_correlation": computed("matthews_correlation", given, right),
        }


class SeveralLabels(NamedLabels):
    """Any number of labels for each text: those whose probability is at least one half."""

    kind = "names"
    use = "several labels"
    scores = ("f1_micro", "f1_macro", "accuracy")
    least = 1

    def targets(self, labels: Sequence[Sequence[str]]) -> list[list[int]]:
        return [sorted({self.labels.numbers[label] for label in row}) for row in labels]

    def collation(self) -> Mapping[str, Any]:
        return {"classes": {"labels": len(self.labels.names)}}

    def decide(self, logits: Tensor) -> list[dict[str, Any]]:
        scores = [dict(zip(self.labels.names, row, strict=True)) for row in logits.sigmoid().tolist()]
        return [
            {"label": [name for name, score in row.items() if score >= THRESHOLD], "scores": row} for row in scores
        ]

    def score(self, answers: Sequence[dict[str, Any]], labels: Sequence[Sequence[str]]) -> dict[str, Any]:
        given = [answer["label"] for answer in answers]
        right = [[self.labels.name_of(label) for label in row] for row in labels]
        averages = {f"f1_{average}": computed("f1", given, right, average=average) for average in ("micro", "macro")}
        return averages | {"accuracy": computed("accuracy", given, right)}


class Regression(Problem):
    """A number for each text, learnt by the squared error."""

    kind = "number"
    use = "regression"
    scores = ("pearson", "spearman", "mse")

    def fields(self) -> dict[str, Any]:
        return {"num_labels": 1}

    def targets(self, labels: Sequence[float]) -> list[float]:
        return list(labels)

    def collation(self) -> Mapping[str, Any]:
        return {"floats": ("labels",)}

    def decide(self, logits: Tensor) -> list[dict[str, Any]]:
        return [{"label": number} for number in logits[:, 0].tolist()]

    def score(self, answers: Sequence[dict[str, Any]], labels: Sequence[float]) -> dict[str, Any]:
        given = [answer["label"] for answer in answers]
        metrics = {"pearson": "pearsonr", "spearman": "spearmanr", "mse": "mse"}
        return {name: computed(metric, given, list(labels)) for name, metric in metrics.items()}


PROBLEMS: dict[str, type[Problem]] = {
    "single_label_classification": SingleLabel,
    "multi_label_classification": SeveralLabels,
    "regression": Regression,
}
"""The problems, by the word that `problem_type` of a configuration has for each."""


def problem_of(rows: "Dataset") -> str:
    """Returns the key of `PROBLEMS` whose labels the rows have."""
    import pyarrow as pa

    kind = rows.data.schema.field(LABEL).type
    if pa.types.is_floating(kind):
        return "regression"
    return "multi_label_classification" if pa.types.is_list(kind) else "single_label_classification"

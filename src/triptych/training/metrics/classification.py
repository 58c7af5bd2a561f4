"""Scores of labels and of numbers by scikit-learn and scipy: accuracy, F1, correlations, squared error."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn import metrics
from sklearn.preprocessing import MultiLabelBinarizer

TEXT, WHOLE, NUMBER = (datasets.Value(kind) for kind in ("string", "int64", "float64"))
CLASSES = (TEXT, WHOLE, datasets.Sequence(TEXT), datasets.Sequence(WHOLE))


class LabelScore(evaluate.Metric):
    """What the metrics here have in common. `kinds` are what a label can be."""

    kinds: Sequence[Any] = CLASSES
    description = ""
    citation_key = "Pedregosa et al. (2011), Scikit-learn: Machine Learning in Python"
    url = "https://scikit-learn.org"

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation_key,
            inputs_description="Args: predictions, references: for each row a label, a list of labels or a number.",
            features=[datasets.Features({"predictions": kind, "references": kind}) for kind in self.kinds],
            reference_urls=[self.url],
        )


def indicators(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[Any, Any]:
    """Labels as scikit-learn wants them: as they are; lists of labels as a matrix with a column for each label."""
    if not isinstance(references[0], list | np.ndarray):
        return predictions, references
    names = sorted({name for row in [*predictions, *references] for name in row})
    encoder = MultiLabelBinarizer(classes=names).fit([])
    return encoder.transform(predictions), encoder.transform(references)


class Accuracy(LabelScore):
    """The part of the rows whose label is right. Of lists of labels, all must be right."""

    description = "The part of the rows whose label, or whose whole list of labels, is right."

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        predicted, right = indicators(predictions, references)
        return {"accuracy": float(metrics.accuracy_score(right, predicted))}


class F1(LabelScore):
    """F1 over classes: their mean (`macro`), or that of all decisions together (`micro`)."""

    description = "F1, the harmonic mean of precision and recall; 0 for a class that is never right."

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], average: str | None = "macro"
    ) -> dict[str, Any]:
        """`average` is that of `sklearn.metrics.f1_score`; None gives one score for each label, label → F1."""
        predicted, right = indicators(predictions, references)
        if average is None:
            names = sorted({*predictions, *references})
            scores = metrics.f1_score(right, predicted, labels=names, average=None, zero_division=0)
            return {"f1": dict(zip(names, scores.tolist(), strict=True))}
        return {"f1": float(metrics.f1_score(right, predicted, average=average, zero_division=0))}


class MatthewsCorrelation(LabelScore):
    """Matthews' correlation of two classifications, for any number of classes; 0 where one of them is constant."""

    kinds = (TEXT, WHOLE)
    description = "Matthews correlation coefficient, between -1 and 1; 0 is chance."

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {"matthews_correlation": float(metrics.matthews_corrcoef(references, predictions))}


class NumberScore(LabelScore):
    """What the scores of numbers have in common."""

    kinds = (NUMBER,)
    citation_key = "Virtanen et al. (2020), SciPy 1.0"
    url = "https://scipy.org"


def correlation(
    name: str, function: Any, predictions: Sequence[float], references: Sequence[float]
) -> dict[str, float]:
    """A correlation; 0 where it is undefined, because all numbers of one side are the same or there is only one."""
    if len(set(predictions)) < 2 or len(set(references)) < 2:
        return {name: 0.0}
    return {name: float(function(predictions, references).statistic)}


class PearsonR(NumberScore):
    """Pearson's correlation of two lists of numbers; 0 where one of them is constant."""

    description = "Pearson correlation coefficient, between -1 and 1."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return correlation("pearsonr", stats.pearsonr, predictions, references)


class SpearmanR(NumberScore):
    """Spearman's correlation of the ranks of two lists of numbers; 0 where one of them is constant."""

    description = "Spearman rank correlation coefficient, between -1 and 1."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return correlation("spearmanr", stats.spearmanr, predictions, references)


class MeanSquaredError(NumberScore):
    """The mean of the squared errors."""

    description = "Mean squared error."

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        return {"mse": float(metrics.mean_squared_error(references, predictions))}

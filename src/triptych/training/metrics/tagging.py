"""Scores of tags that mark entities (IOB and its relatives), by the library seqeval."""

import warnings
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
from seqeval import metrics


class SeqEval(evaluate.Metric):
    """Precision, recall and F1 of entities as CoNLL 2003 counted them: an entity is right if type and borders are."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Precision, recall and F1 of the entities that tags mark, and the accuracy of the tags.",
            citation="Nakayama (2018), seqeval",
            inputs_description="Args: predictions, references: a list of tags for each sentence.",
            features=datasets.Features({"predictions": tags, "references": tags}),
            reference_urls=["https://github.com/chakki-works/seqeval"],
        )

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, Any]:
        """The result has the form of `evaluate`'s seqeval: type → its scores, and `overall_…`."""
        predicted, right = ([list(tags) for tags in side] for side in (predictions, references))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a type that is never predicted; its scores are 0
            report = metrics.classification_report(right, predicted, output_dict=True, zero_division=0)
        overall = report.pop("micro avg", {"precision": 0.0, "recall": 0.0, "f1-score": 0.0})
        types = {name: values for name, values in report.items() if name not in ("macro avg", "weighted avg")}
        return {
            **{
                name: {
                    "precision": float(values["precision"]),
                    "recall": float(values["recall"]),
                    "f1": float(values["f1-score"]),
                    "number": int(values["support"]),
                }
                for name, values in types.items()
            },
            "overall_precision": float(overall["precision"]),
            "overall_recall": float(overall["recall"]),
            "overall_f1": float(overall["f1-score"]),
            "overall_accuracy": float(metrics.accuracy_score(right, predicted)),
        }

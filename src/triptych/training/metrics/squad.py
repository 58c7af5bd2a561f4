"""Scores of answers to questions, as the official scripts of SQuAD 1.1 and 2.0 compute them (Rajpurkar 2016, 2018)."""

import collections
import re
import string
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import datasets
import evaluate

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
NO_ANSWER = ""  # the answer of a question that the context does not answer


def normalized(text: str) -> str:
    """The words of an answer that are compared: lower case, without ASCII punctuation and English articles."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """1 if the two have the same words in the same order, else 0."""
    return float(normalized(prediction) == normalized(answer))


def word_f1(prediction: str, answer: str) -> float:
    """The F-score of the words that both have; without any word on either side 0, as in the script of SQuAD 1.1."""
    words, wanted = normalized(prediction).split(), normalized(answer).split()
    common = sum((collections.Counter(words) & collections.Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted)) if common else 0.0


def word_f1_or_none(prediction: str, answer: str) -> float:
    """`word_f1`, but 1 where both have no words, as in the script of SQuAD 2.0."""
    both_empty = not normalized(prediction) and not normalized(answer)
    return 1.0 if both_empty else word_f1(prediction, answer)


def percent(values: Iterable[float]) -> float:
    """The mean of scores in [0, 1], as a percentage."""
    scores = list(values)
    return 100 * sum(scores) / len(scores)


def best_over(answers: Sequence[str], score: Callable[[str, str], float], prediction: str) -> float:
    """The score for the answer that the prediction is most like."""
    return max(score(prediction, answer) for answer in answers)


def check_rows(predictions: list[dict], references: list[dict]) -> None:
    """
    Raises:
        ValueError: there is nothing to score, or a prediction does not have the id of the reference in its place.
    """
    if not predictions:
        raise ValueError("predictions are empty: there is nothing to score")
    for row, (prediction, reference) in enumerate(zip(predictions, references, strict=True), 1):
        if prediction["id"] != reference["id"]:
            raise ValueError(f"row {row}: the prediction is for {prediction['id']!r}, not for {reference['id']!r}")


class AnswerScore(evaluate.Metric):
    """What the two metrics have in common: rows of predictions and references, in the same order."""

    description = ""
    citation_key = ""
    prediction_fields: dict[str, Any] = {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")}

    def _info(self) -> evaluate.MetricInfo:
        answers = {"text": [datasets.Value("string")], "answer_start": [datasets.Value("int32")]}
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation_key,
            inputs_description="predictions: id and prediction_text of each question; references: its id and answers.",
            features=datasets.Features(
                {
                    "predictions": self.prediction_fields,
                    "references": {"id": datasets.Value("string"), "answers": answers},
                }
            ),
            reference_urls=["https://rajpurkar.github.io/SQuAD-explorer/"],
        )


class Squad(AnswerScore):
    """SQuAD 1.1: `exact_match` and `f1`, 0 to 100. Every question has an answer."""

    description = "Exact match and F-score of words, as the official script of SQuAD 1.1 computes them."
    citation_key = "Rajpurkar et al. (2016), SQuAD: 100,000+ Questions for Machine Comprehension of Text"

    def _compute(self, predictions: list[dict], references: list[dict]) -> dict[str, float]:
        check_rows(predictions, references)
        for reference in references:
            if not reference["answers"]["text"]:
                raise ValueError(f"the question {reference['id']!r} has no answer; use the metric squad_v2")
        pairs = [(r["answers"]["text"], p["prediction_text"]) for p, r in zip(predictions, references, strict=True)]
        return {
            "exact_match": percent(best_over(answers, exact_match, text) for answers, text in pairs),
            "f1": percent(best_over(answers, word_f1, text) for answers, text in pairs),
        }


class SquadV2(AnswerScore):
    """SQuAD 2.0: `exact` and `f1` (0 to 100) of all questions, of those with an answer, and of those without.

    `no_answer_probability` of a prediction is compared with `no_answer_threshold`: above it, the answer counts as
    empty. `best_exact` and `best_f1` are the scores with the best threshold.
    """

    description = "Exact match and F-score of words, as the official script of SQuAD 2.0 computes them."
    citation_key = "Rajpurkar et al. (2018), Know What You Don't Know: Unanswerable Questions for SQuAD"
    prediction_fields = {**AnswerScore.prediction_fields, "no_answer_probability": datasets.Value("float32")}

    def _compute(
        self, predictions: list[dict], references: list[dict], no_answer_threshold: float = 1.0
    ) -> dict[str, Any]:
        check_rows(predictions, references)
        wanted = [[t for t in r["answers"]["text"] if normalized(t)] or [NO_ANSWER] for r in references]
        answered = [bool(r["answers"]["text"]) for r in references]
        chances = [p["no_answer_probability"] for p in predictions]
        raw = {
            name: [best_over(w, score, p["prediction_text"]) for p, w in zip(predictions, wanted, strict=True)]
            for name, score in (("exact", exact_match), ("f1", word_f1_or_none))
        }
        scores: dict[str, Any] = {}
        for group, members in (
            ("", range(len(answered))),
            ("HasAns_", [row for row, has in enumerate(answered) if has]),
            ("NoAns_", [row for row, has in enumerate(answered) if not has]),
        ):
            if not members:
                continue
            for name, of_rows in raw.items():
                kept = (
                    float(not answered[row]) if chances[row] > no_answer_threshold else of_rows[row] for row in members
                )
                scores[group + name] = percent(kept)
            scores[f"{group}total"] = len(members)
        for name, of_rows in raw.items():
            scores |= best_threshold(name, predictions, of_rows, answered)
        return scores


def best_threshold(name: str, predictions: list[dict], scores: list[float], answered: list[bool]) -> dict[str, float]:
    """The best score over all thresholds of `no_answer_probability`, and that threshold; as the official script.

    It begins with no answer to any question, and gives the answers one after another, the most probable first. An
    empty answer to a question that has one costs nothing, and any answer to a question without one costs 1.
    """
    score = best = float(sum(not has for has in answered))
    threshold = 0.0
    for row in sorted(range(len(scores)), key=lambda row: predictions[row]["no_answer_probability"]):
        text = predictions[row]["prediction_text"]
        score += scores[row] if answered[row] else -float(bool(text))
        if score > best:
            best, threshold = score, predictions[row]["no_answer_probability"]
    return {f"best_{name}": 100 * best / len(scores), f"best_{name}_thresh": threshold}

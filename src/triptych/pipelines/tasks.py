"""The tasks that this package adds to those of transformers: a row for each.

Importing this module imports transformers' pipelines, which takes time; `pipeline` does it at its first call.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from transformers import (
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
)

from .base import TaskPipeline
from .multiple_choice import MultipleChoicePipeline
from .next_sentence import NextSentencePipeline
from .question_answering import QuestionAnsweringPipeline
from .sentence_similarity import SentenceSimilarityPipeline
from .text_to_text import SummarizationPipeline, Text2TextGenerationPipeline
from .translation import TranslationPipeline


@dataclass(frozen=True)
class Task:
    """How a task is done.

    Attributes:
        pipeline_class: what is called with the inputs.
        auto_class: the Auto class of transformers by which its models are loaded.
        default_models: the models that version 4 of transformers loaded where none was named, in its form: the name
            and the revision, for the task or for a pair of languages. Only `restore()` uses them.
    """

    pipeline_class: type[TaskPipeline]
    auto_class: Any
    default_models: dict[Any, Any] = field(default_factory=dict)


T5 = {"model": ("google-t5/t5-base", "a9723ea")}
TASKS: dict[str, Task] = {
    "translation": Task(
        TranslationPipeline, AutoModelForSeq2SeqLM, {("en", "fr"): T5, ("en", "de"): T5, ("en", "ro"): T5}
    ),
    "summarization": Task(
        SummarizationPipeline, AutoModelForSeq2SeqLM, {"model": ("sshleifer/distilbart-cnn-12-6", "a4f8f3e")}
    ),
    "question-answering": Task(
        QuestionAnsweringPipeline,
        AutoModelForQuestionAnswering,
        {"model": ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5")},
    ),
    "text2text-generation": Task(Text2TextGenerationPipeline, AutoModelForSeq2SeqLM, T5),
    "multiple-choice": Task(MultipleChoicePipeline, AutoModelForMultipleChoice),
    "next-sentence-prediction": Task(NextSentencePipeline, AutoModelForNextSentencePrediction),
    "sentence-similarity": Task(SentenceSimilarityPipeline, AutoModel),
}

_LANGUAGE_PAIR = re.compile(r"translation_\w+_to_\w+")


def find_task(name: str) -> Task | None:
    """The row of a task, `translation_xx_to_yy` included; None where this package does not add the task.

    Raises:
        ValueError: the name begins with `translation_`, but does not name two languages.
    """
    if name.startswith("translation_"):
        if not _LANGUAGE_PAIR.fullmatch(name):
            raise ValueError(f"task {name!r}: languages are named as in 'translation_en_to_de'")
        name = "translation"
    return TASKS.get(name)

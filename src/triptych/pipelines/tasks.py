"""The tasks that this package adds to those of transformers: a row for each.

Importing this module imports transformers' pipelines, which takes time; `pipeline` does it at its first call.
"""

import re
from dataclasses import dataclass
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
    """

    pipeline_class: type[TaskPipeline]
    auto_class: Any


TASKS: dict[str, Task] = {
    "translation": Task(TranslationPipeline, AutoModelForSeq2SeqLM),
    "summarization": Task(SummarizationPipeline, AutoModelForSeq2SeqLM),
    "question-answering": Task(QuestionAnsweringPipeline, AutoModelForQuestionAnswering),
    "text2text-generation": Task(Text2TextGenerationPipeline, AutoModelForSeq2SeqLM),
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

"""Question answering: the part of a text that answers a question. Version 5 of transformers removed this pipeline."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.pipelines.base import ChunkPipeline

from ..conversion.limits import position_limit
from ..data.answers import Answer, Answers, find_answers
from ..data.quantities import counted
from ..data.windows import CHECKPOINT_KEY, WindowEncoder, trimmed
from .base import TaskPipeline
from .options import given_options
from .outputs import Outputs

MOST_TOKENS = 384
# What a checkpoint may say of this task in config.task_specific_params, and the values where it says nothing: those of
# version 4 of transformers.
DEFAULTS: dict[str, Any] = {
    "max_seq_len": None,
    "doc_stride": None,
    "max_answer_len": 15,
    "null_score_threshold": None,
}
OPTIONS = (*DEFAULTS, "top_k", "handle_impossible_answer", "align_to_words")
STRIDE = 128  # the most tokens that a window shares with the next one, where nobody says more
CANDIDATES = 20  # of answers, at least: several of them can be the same words


class QuestionAnsweringPipeline(TaskPipeline, ChunkPipeline):
    """The task `question-answering`, with the interface and the outputs that it had in version 4 of transformers.

        pipe(question="Where is Kim?", context="Kim is in Oslo.")
        pipe([{"question": "Where is Kim?", "context": "Kim is in Oslo."}])

    The output for each question is a dict: `answer`, a part of the context, word for word; `start` and `end`, its
    place in the context in characters; `score`, its probability among all pairs of a first and a last token in all
    windows. (Version 4 computed it in each window by itself.) A list of questions gives a list, and a generator or a
    data set an iterator. With `top_k` greater than 1, each question has a list of dicts, the best first. A question
    without an answer has the empty answer at 0.

    A context that is too long for the model is read in windows that overlap, as in the training of this package
    (`triptych.data.windows`). A model that this package trained says in its configuration how; the options overrule
    it.

    Options, in `pipeline()` or in a call:

    - `top_k`: the number of answers (1).
    - `max_seq_len`, `doc_stride`: the tokens of a window (384), and how many of them the next one has, too (half a
      window, 128 at most).
    - `max_answer_len`: the most tokens of an answer (15).
    - `align_to_words`: make an answer begin and end with a whole word, as the tokenizer divides words; answers that
      become the same are one, with the sum of their scores. It is so by default, but not for a model whose
      configuration says how it finds answers: its answers are those of its evaluation.
    - `handle_impossible_answer`: whether a question can have no answer. By default, the model's configuration says it.
    - `null_score_threshold`: by how much the score of "no answer" must be greater than that of the best answer (0).
    """

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig, names: Sequence[str]) -> None:
        """Extends `TaskPipeline.check_config`: raises ValueError if the model has another head."""
        if names and not any("QuestionAnswering" in name for name in names):
            raise ValueError(
                f"task {task!r} needs a model that was trained to find answers, but this is a {names[0]}; "
                "train one with `triptych finetune-question-answering --model ...`"
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: takes questions and contexts, see the class.

        Raises:
            TypeError: the inputs are not questions with their contexts.
            ValueError: a question or a context is blank, or a question leaves no place for its context.
        """
        if len(args) == 2 and all(isinstance(arg, str) for arg in args):
            args, kwargs = (), {**dict(zip(("question", "context"), args, strict=True)), **kwargs}
        given = [name for name in ("question", "context") if name in kwargs]
        if given:
            if args or len(given) < 2:
                raise TypeError("give question= and context= together, or one argument that has both")
            inputs = paired(kwargs.pop("question"), kwargs.pop("context"))
        elif len(args) == 1:
            inputs = list(args[0]) if isinstance(args[0], tuple) else args[0]
        elif args and all(isinstance(arg, Mapping) for arg in args):
            inputs = list(args)
        else:
            raise TypeError(
                "give question= and context=, or a dict, or a list or an iterator of dicts, that have both"
            )
        if isinstance(inputs, Mapping):
            return super().__call__(checked(inputs), **kwargs)
        if isinstance(inputs, list):
            return list(super().__call__([checked(each) for each in inputs], **kwargs)) if inputs else []
        if not isinstance(inputs, Iterable) or isinstance(inputs, str):
            raise TypeError(f"the {self.task} pipeline takes dicts with `question` and `context`, not {inputs!r:.60}")
        length = len(inputs) if isinstance(inputs, Sized) else None
        return Outputs(super().__call__((checked(each) for each in inputs), **kwargs), length)

    def _sanitize_parameters(
        self,
        *,
        top_k: int | None = None,
        max_seq_len: int | None = None,
        doc_stride: int | None = None,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        null_score_threshold: float | None = None,
        align_to_words: bool | None = None,
        **others: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if others:
            raise ValueError(
                f"the {self.task} pipeline has no option {', '.join(others)}; it has {', '.join(OPTIONS)}. (No "
                "question is cut here, so padding and max_question_len of version 4 have no place.)"
            )
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len), ("max_seq_len", max_seq_len)):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        preprocess = {"max_seq_len": max_seq_len, "doc_stride": doc_stride}
        postprocess = {
            "top_k": top_k,
            "max_answer_len": max_answer_len,
            "handle_impossible_answer": handle_impossible_answer,
            "null_score_threshold": null_score_threshold,
            "align_to_words": align_to_words,
        }
        return given_options(preprocess), {}, given_options(postprocess)

    def said(self, name: str) -> Any:
        """What the configuration says of an option, if it is a number; else the default."""
        value = self.of_checkpoint.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number else DEFAULTS[name]

    @property
    def of_checkpoint(self) -> Mapping[str, Any]:
        """What the configuration says of this task; it comes from a file that anyone may have written."""
        of_tasks = getattr(self.model.config, "task_specific_params", None)
        of_task = of_tasks.get(CHECKPOINT_KEY) if isinstance(of_tasks, Mapping) else None
        return of_task if isinstance(of_task, Mapping) else {}

    def windows(self, max_seq_len: int | None = None, doc_stride: int | None = None) -> WindowEncoder:
        """What makes the windows."""
        config = self.model.config
        limits = [position_limit(config, side) for side in ("encoder", "decoder")]
        limit = min((limit for limit in limits if limit is not None), default=None)
        length = max_seq_len or self.said("max_seq_len") or min(MOST_TOKENS, limit or MOST_TOKENS)
        if limit is not None and length > limit:
            raise ValueError(f"max_seq_len={length} is greater than the {limit} positions of the model")
        if doc_stride is None and max_seq_len is None:
            doc_stride = self.said("doc_stride")
        if doc_stride is None:
            doc_stride = min(length // 2, STRIDE)
        return WindowEncoder(self.tokenizer, length, doc_stride, getattr(config, "type_vocab_size", None) or 1)

    def preprocess(self, inputs: Mapping[str, str], **options: Any) -> Iterator[dict[str, Any]]:
        """The windows of one question, each as the arguments of the model."""
        [windows] = self.windows(**options)([inputs["question"]], [inputs["context"]])
        for number, window in enumerate(windows, 1):
            tensors = {name: torch.tensor([values]) for name, values in window.inputs.items()}
            mask = torch.ones_like(tensors["input_ids"])
            # The list comes first, because transformers counts the rows of a batch in the first value.
            others = {"window": window, "context": inputs["context"], "is_last": number == len(windows)}
            yield {**others, **tensors, "attention_mask": mask}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        """The logits of the tokens of each window."""
        others = {name: model_inputs.pop(name) for name in ("window", "context", "is_last")}
        outputs = self.model(**model_inputs)
        if "start_logits" not in outputs:
            raise ValueError(f"{type(self.model).__name__} gives no scores of the ends of an answer (start_logits)")
        mask = model_inputs["attention_mask"]
        return {
            "start_logits": outputs.start_logits,
            "end_logits": outputs.end_logits,
            "attention_mask": mask,
            **others,
        }

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        top_k: int = 1,
        max_answer_len: int | None = None,
        handle_impossible_answer: bool | None = None,
        null_score_threshold: float | None = None,
        align_to_words: bool | None = None,
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """The answers to one question."""
        context = model_outputs[0]["context"]
        first, last = (
            [output[name][0][output["attention_mask"][0].bool()].float().numpy() for output in model_outputs]
            for name in ("start_logits", "end_logits")
        )
        found = find_answers(
            context,
            [output["window"] for output in model_outputs],
            first,
            last,
            max_answer_len or self.said("max_answer_len"),
            max(2 * top_k + 10, CANDIDATES),
        )
        answers = self.ranked(found, handle_impossible_answer, null_score_threshold)
        scored = {(answer.start, answer.end): found.probability(answer) for answer in answers}
        if not self.of_checkpoint if align_to_words is None else align_to_words:
            scored = aligned(scored, word_spans(self.tokenizer, context))
        shown = [
            {"score": scored[start, end], "start": start, "end": end, "answer": context[start:end]}
            for start, end in in_order(scored, bool(answers[0].text))[:top_k]
        ]
        return shown[0] if top_k == 1 else shown

    def ranked(self, found: Answers, can_be_impossible: bool | None, threshold: float | None) -> list[Answer]:
        """The answers, the chosen one first; that there is none is one of them where that can be."""
        if threshold is None:
            threshold = self.said("null_score_threshold")
        if can_be_impossible is None:
            can_be_impossible = threshold is not None
        chosen = found.chosen((threshold or 0.0) if can_be_impossible else None)
        others = [*found.best, *([found.no_answer] if can_be_impossible else [])]
        return [chosen, *(answer for answer in others if answer != chosen)]


Span = tuple[int, int]  # where a part of the context begins and ends, in characters


def word_spans(tokenizer: Any, context: str) -> list[Span]:
    """The words of the context, as the tokenizer divides them before it divides words into tokens."""
    encoded = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    words: dict[int, Span] = {}
    for word, (start, end) in zip(encoded.word_ids(), encoded["offset_mapping"], strict=True):
        if word is not None and start < end:
            first, last = words.get(word, (start, end))
            words[word] = min(first, start), max(last, end)
    return [trimmed(context, *words[word]) for word in sorted(words)]


def aligned(scored: Mapping[Span, float], words: Sequence[Span]) -> dict[Span, float]:
    """The answers with whole words at both ends; the scores of those that become the same are added up."""
    ends = [end for _, end in words]
    together: dict[Span, float] = {}
    for (start, end), score in scored.items():
        if start < end and words:
            first = words[min(bisect_right(ends, start), len(words) - 1)]
            last = words[min(bisect_right(ends, end - 1), len(words) - 1)]
            start, end = min(start, first[0]), max(end, last[1])
        together[start, end] = together.get((start, end), 0.0) + score
    return together


def in_order(scored: Mapping[Span, float], is_answered: bool) -> list[Span]:
    """The answers by their scores, but the empty one is the first if the question has no answer, and only then."""
    spans = sorted(scored, key=lambda span: -scored[span])
    empty = next((span for span in spans if span[0] == span[1]), None)
    if empty is not None and (spans[0] == empty) is is_answered and len(spans) > 1:
        spans.remove(empty)
        spans.insert(1 if is_answered else 0, empty)
    return spans


def paired(question: Any, context: Any) -> Any:
    """Questions and contexts that are given by name, as a dict or as a list of dicts; one context can serve all."""
    if isinstance(question, str) and isinstance(context, str):
        return {"question": question, "context": context}
    questions = [question] if isinstance(question, str) else list(question)
    contexts = [context] * len(questions) if isinstance(context, str) else list(context)
    if len(questions) != len(contexts):
        raise ValueError(
            f"there must be as many questions as contexts, not {counted(len(questions), 'questions')} and "
            f"{counted(len(contexts), 'contexts')}"
        )
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]


def checked(inputs: Any) -> dict[str, str]:
    """The question and the context of one input.

    Raises:
        TypeError: it is no dict with both.
        ValueError: one of them is blank.
    """
    if not isinstance(inputs, Mapping) or not all(isinstance(inputs.get(n), str) for n in ("question", "context")):
        raise TypeError(f"needed is a dict with the texts `question` and `context`, not {inputs!r:.60}")
    for name in ("question", "context"):
        if not inputs[name].strip():
            raise ValueError(f"the {name} is blank: {inputs!r:.60}")
    return {"question": inputs["question"], "context": inputs["context"]}

"""Windows of a question and a part of its context, and where the answer lies in a window.

A context that is too long for the model is read in several windows, which overlap (Devlin et al. 2018, section 4.2 and
their code). Each window begins with the whole question.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..configuration.special_tokens import tokenizer_name
from .quantities import counted

CONTEXT = 1  # the number of the context in a pair of question and context
CHECKPOINT_KEY = "question-answering"  # of what a checkpoint says of this task, in config.task_specific_params


@dataclass(frozen=True)
class Window:
    """A question and a part of its context, as a model reads them.

    Attributes:
        inputs: argument of the model's `forward` → a number for each of the T tokens.
        positions: the positions of the tokens of the context; shape (n,).
        starts, ends: where the text of each of these tokens begins and ends, in characters of the context; (n,).
        is_first, is_last: whether the window has the beginning, and the end, of the context.
        no_answer: the position that stands for "the context has no answer": the token that begins a text ([CLS], <s>),
            or the first token where there is none.
    """

    inputs: dict[str, list[int]]
    positions: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    is_first: bool
    is_last: bool
    no_answer: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The positions of the first and the last token of an answer: `no_answer` twice, if it is not all here.

        Args:
            start, end: where the answer begins and ends in the context, in characters; not white space.
        """
        tokens = np.flatnonzero((self.ends > start) & (self.starts < end))
        if not len(tokens):
            return self.no_answer, self.no_answer
        first, last = tokens[0], tokens[-1]
        begins = first > 0 or self.is_first or self.starts[first] <= start
        ends = last < len(self.starts) - 1 or self.is_last or self.ends[last] >= end
        return (int(self.positions[first]), int(self.positions[last])) if begins and ends else (self.no_answer,) * 2


class WindowEncoder:
    """Makes windows of questions and their contexts.

    Args:
        tokenizer: a fast tokenizer, because only these tell where a token lies in the text. It is not changed.
        max_length: the most tokens of a window, with question and special tokens.
        stride: the number of tokens that a window and the next one have in common; None: a third of `max_length`.
        segments: the number of segments that the model knows (`type_vocab_size`); without a second one, the windows
            have no `token_type_ids`.

    Raises:
        ValueError: the tokenizer is not fast, or the numbers are out of range.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int | None = None, segments: int = 2
    ) -> None:
        if not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer {tokenizer_name(tokenizer)} does not tell where its tokens lie in the text; use a "
                "fast tokenizer (one with a tokenizer.json)"
            )
        self.max_length, self.stride = max_length, max_length // 3 if stride is None else stride
        if not 0 <= self.stride < max_length:
            raise ValueError(f"doc_stride={stride} must be at least 0, and smaller than max_length={max_length}")
        self.tokenizer = copy.deepcopy(tokenizer)  # a fast tokenizer remembers a truncation, and is saved with it
        self.tokenizer.truncation_side = self.tokenizer.padding_side = "right"
        self.has_segments = segments > 1 and "token_type_ids" in tokenizer.model_input_names

    def check(self, questions: Sequence[str], first_row: int) -> None:
        """
        Raises:
            ValueError: a question leaves no place for its context; the message counts rows from `first_row`.
        """
        special = self.tokenizer.num_special_tokens_to_add(pair=True)
        ids = self.tokenizer(questions, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for row, question in enumerate(ids["input_ids"], first_row):
            room = self.max_length - special - len(question)
            if room <= self.stride:
                raise ValueError(
                    f"row {row}: the question has {counted(len(question), 'tokens')}, and a window of "
                    f"max_length={self.max_length} with {special} special tokens leaves {max(room, 0)} for the "
                    f"context, of which it shares doc_stride={self.stride} with the next; give a greater --max_length "
                    "or a smaller --doc_stride, or shorten the question"
                )

    def __call__(self, questions: Sequence[str], contexts: Sequence[str], first_row: int = 1) -> list[list[Window]]:
        """The windows of each row.

        Raises:
            ValueError: see `check`.
        """
        questions = [question.strip() for question in questions]
        if not questions:
            return []
        self.check(questions, first_row)
        encoded = self.tokenizer(
            questions,
            list(contexts),
            truncation="only_second",
            max_length=self.max_length,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=self.has_segments,
            verbose=False,
        )
        rows = encoded["overflow_to_sample_mapping"]
        windows: list[list[Window]] = [[] for _ in questions]
        for number, row in enumerate(rows):
            is_last = number + 1 == len(rows) or rows[number + 1] != row
            windows[row].append(self.window(encoded, number, is_first=not windows[row], is_last=is_last))
        return windows

    def window(self, encoded: Any, number: int, is_first: bool, is_last: bool) -> Window:
        """The window with this number in the output of the tokenizer."""
        names = ("input_ids", "token_type_ids") if self.has_segments else ("input_ids",)
        inputs = {name: encoded[name][number] for name in names}
        offsets = np.asarray(encoded["offset_mapping"][number], dtype=np.int64).reshape(-1, 2)
        of_context = [sequence == CONTEXT for sequence in encoded.sequence_ids(number)]
        positions = np.flatnonzero(of_context)
        starts, ends = offsets[positions].T
        beginning = self.beginning(inputs["input_ids"])
        return Window(inputs, positions, starts, ends, is_first, is_last, beginning)

    def beginning(self, input_ids: list[int]) -> int:
        """The position of the token that begins a text; 0 where the tokenizer writes none."""
        for token in (self.tokenizer.cls_token_id, self.tokenizer.bos_token_id):
            if token is not None and token in input_ids:
                return input_ids.index(token)
        return 0


def trimmed(context: str, start: int, end: int) -> tuple[int, int]:
    """A part of the context without the white space around it."""
    text = context[start:end]
    return start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())

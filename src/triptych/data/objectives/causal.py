"""Causal language modelling: documents, cut to rows or packed into rows, whose tokens are predicted one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..collators import IGNORED, PaddingCollator, pad


def pieces_of(tokens: Any, block_size: int) -> list[Any]:
    """Cuts tokens into pieces of at most `block_size`, of which each begins with the last token of the one before.

    So the first token of a piece, which no position of its row predicts, is predicted in the piece before: every token
    but the very first one is predicted exactly once.
    """
    stride = block_size - 1
    return [tokens[start : start + block_size] for start in range(0, max(len(tokens) - 1, 1), stride)]


def pack(documents: Sequence[Sequence[int]], block_size: int) -> dict[str, list[Any]]:
    """Lays documents one behind the other and cuts them into rows of `block_size` tokens; see `pieces_of`.

    Only the last row may be shorter. No token is lost.

    Returns:
        `input_ids`, and `document_ids`: the number of the document to which each token belongs, counted from 0 in
        each row. With these the model keeps the documents apart: no token sees another document, positions begin
        anew, and no token predicts the first token of the next document.
    """
    tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents])
    owners = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    rows = pieces_of(tokens, block_size), pieces_of(owners, block_size)
    return {
        "input_ids": [row.tolist() for row in rows[0]],
        "document_ids": [(row - row[0]).tolist() for row in rows[1]],
    }


class CausalLMCollator(PaddingCollator):
    """Pads rows of tokens on the right, and asks for all tokens.

    Called with a list of {"input_ids": list[int]}, with or without `document_ids`, it returns LongTensors of the shape
    (rows, longest): `input_ids`; `attention_mask`; `labels`, the same tokens, with -100 where there is padding (the
    model shifts them); and `document_ids` where the rows have them.

    Args:
        pad_token_id: fills `input_ids`. It may be a token that occurs in texts, as GPT-2's end token: what is padding
            is known by its place.
        is_packed: whether the rows have `document_ids`.
    """

    def __init__(self, pad_token_id: int, is_packed: bool = False) -> None:
        # What fills `document_ids` has no meaning: a token that is masked belongs to no document.
        documents = {"document_ids": 0} if is_packed else {}
        super().__init__({"input_ids": pad_token_id, **documents}, masks={"input_ids": "attention_mask"})

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = super().__call__(examples)
        batch["labels"] = pad([example["input_ids"] for example in examples] or [[IGNORED]], IGNORED)
        return batch

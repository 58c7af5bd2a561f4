"""Ending an output at a string, besides the end token and the greatest length."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria


class StopSequences(StoppingCriteria):
    """Ends each output as soon as its text contains one of some strings.

    transformers' `stop_strings` is not used: it does not work with tokenizers of whole words, and it takes seconds for
    a large vocabulary.

    Args:
        tokenizer: the tokenizer of the output.
        strings: the strings that end an output. They are searched in the text without special tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, strings: Sequence[str]) -> None:
        self.tokenizer, self.strings = tokenizer, strings

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """
        Args:
            input_ids: (outputs, tokens), the start token included.

        Returns:
            Booleans of shape (outputs,): whether each output has ended.
        """
        texts = self.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        found = [any(string in text for string in self.strings) for text in texts]
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)

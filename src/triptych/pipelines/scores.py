"""The probabilities of the tokens that `generate()` chose."""

from typing import Any

import torch
from torch import Tensor


def token_scores(outputs: Any, eos_token_id: int | list[int] | None, pad_token_id: int | None) -> Tensor:
    """The log-probability of each generated token, in the distribution from which it was chosen.

    transformers' `compute_transition_scores` is not used: it confuses the vocabularies of source and target, and it
    counts padding.

    Args:
        outputs: the result of `generate()` with `output_scores` and `return_dict_in_generate`.
        eos_token_id: the tokens that end an output. The end token itself has a score.
        pad_token_id: the token that fills the shorter outputs of a batch.

    Returns:
        float32 of shape (outputs, tokens); NaN after the end of an output.
    """
    beams = getattr(outputs, "beam_indices", None)
    length = len(outputs.scores) if beams is None else beams.shape[1]
    tokens = outputs.sequences[:, -length:]
    if beams is None:
        beams = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(tokens)
        beams = beams.masked_fill(_behind_end(tokens, eos_token_id, pad_token_id), -1)
        # Beam search keeps log-probabilities; sampling and greedy search keep logits.
        steps = [logits.float().log_softmax(-1) for logits in outputs.scores]
    else:
        steps = [scores.float() for scores in outputs.scores[:length]]
    rows = beams.clamp(min=0)
    chosen = [step[rows[:, i], tokens[:, i]] for i, step in enumerate(steps)]
    return torch.stack(chosen, 1).masked_fill(beams < 0, torch.nan)


def _behind_end(tokens: Tensor, eos_token_id: int | list[int] | None, pad_token_id: int | None) -> Tensor:
    """Which `tokens` (outputs, tokens) only fill the batch: those after the first end token, and final padding."""
    ends = [] if eos_token_id is None else [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id
    is_end = torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device))
    behind = is_end.long().cumsum(1) - is_end.long() > 0
    if pad_token_id is None:
        return behind
    filled = (tokens == pad_token_id).long().flip(1).cumprod(1).flip(1).bool()
    return behind | (filled & ~is_end)

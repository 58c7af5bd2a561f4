"""How probable the tokens were that `generate()` chose."""

from typing import Any

import torch
from torch import Tensor


def token_scores(outputs: Any, eos_token_id: int | list[int] | None, pad_token_id: int | None) -> Tensor:
    """The log-probability of each generated token in the distribution that it was chosen from.

    (transformers' `compute_transition_scores` takes the source's vocabulary for the target's, and counts padding.)

    Args:
        outputs: of `generate()` with `output_scores` and `return_dict_in_generate`.
        eos_token_id: what ends an output; the end token itself counts.
        pad_token_id: what fills up the shorter outputs of a batch.

    Returns:
        (outputs, tokens) float32; NaN behind the end of an output.
    """
    beams = getattr(outputs, "beam_indices", None)
    length = len(outputs.scores) if beams is None else beams.shape[1]
    tokens = outputs.sequences[:, -length:]
    if beams is None:
        beams = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(tokens)
        beams = beams.masked_fill(_behind_end(tokens, eos_token_id, pad_token_id), -1)
        # Beams have log-probabilities already; what sampling and greedy search keep are logits.
        steps = [logits.float().log_softmax(-1) for logits in outputs.scores]
    else:
        steps = [scores.float() for scores in outputs.scores[:length]]
    rows = beams.clamp(min=0)
    chosen = [step[rows[:, i], tokens[:, i]] for i, step in enumerate(steps)]
    return torch.stack(chosen, 1).masked_fill(beams < 0, torch.nan)


def _behind_end(tokens: Tensor, eos_token_id: int | list[int] | None, pad_token_id: int | None) -> Tensor:
    """Where `tokens` (outputs, tokens) only fill up: behind the first end token, or padding up to the last place."""
    ends = [] if eos_token_id is None else [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id
    is_end = torch.isin(tokens, torch.tensor(ends, dtype=tokens.dtype, device=tokens.device))
    behind = is_end.long().cumsum(1) - is_end.long() > 0
    if pad_token_id is None:
        return behind
    filled = (tokens == pad_token_id).long().flip(1).cumprod(1).flip(1).bool()
    return behind | (filled & ~is_end)

"""Classifier-free guidance: moves the scores away from those that follow a negative prompt or a negative source."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LogitsProcessor

from .documents import positions_in_row
from .pooling import last_token


def last_tokens(ids: Tensor, mask: Tensor | None) -> Tensor:
    """The last token of each row that is not padding: (B, S) → (B, 1)."""
    return ids.gather(1, last_token(ids, mask)[:, None])


class ClassifierFreeGuidance(LogitsProcessor):
    """log p(y | negative) + scale · (log p(y | prompt) - log p(y | negative)): Sanchez et al. 2023, section 2.

    transformers' processor is for decoders without beams. This one also works with encoder–decoders. With beams, it
    starts anew when beam search has replaced the earlier tokens of a row.

    Args:
        scale: 1 changes nothing; larger values move further away from the negative prompt.
        prompt_length: the number of ids that are the prompt of a decoder. The prompt of an encoder–decoder is its
            source.
        ids, mask: (B, S) the negative prompt or source.
        begun_mask: (B · n, P) the mask of the first tokens of an encoder–decoder's output, if the caller gave them;
            None: no mask.
    """

    def __init__(
        self,
        scale: float,
        model: Any,
        prompt_length: int,
        ids: Tensor,
        mask: Tensor | None,
        begun_mask: Tensor | None = None,
    ):
        self.scale, self.model, self.prompt_length = scale, model, prompt_length
        self.ids, self.mask = ids, torch.ones_like(ids) if mask is None else mask
        self.begun_mask = begun_mask
        self.seen: Tensor | None = None
        self.cache: Any = None
        self.memory: Any = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The guided scores (B · n, V) of the token after input_ids (B · n, T); n is the number of beams."""
        prompted, negative = scores.log_softmax(-1), self.negative_logits(input_ids).log_softmax(-1)
        return negative + self.scale * (prompted - negative)

    def negative_logits(self, input_ids: Tensor) -> Tensor:
        """The logits (B · n, V) of the token after input_ids (B · n, T) behind the negative prompt."""
        repeats = input_ids.shape[0] // self.ids.shape[0]
        ids, mask = (x.repeat_interleave(repeats, dim=0) for x in (self.ids, self.mask))
        is_continued = self.seen is not None and torch.equal(self.seen, input_ids[:, :-1])
        cache, self.seen = self.cache if is_continued else None, input_ids
        if self.model.config.is_encoder_decoder:
            inputs, growing = self.inputs_of_encoder_decoder(ids, mask, input_ids), ["decoder_input_ids"]
        else:
            inputs, growing = self.inputs_of_decoder(ids, mask, input_ids), ["input_ids", "position_ids"]
        if cache is not None:
            inputs |= {name: inputs[name][:, -1:] for name in growing}
        answer = self.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.cache = answer.past_key_values
        return answer.logits[:, -1].to(input_ids.device)

    def inputs_of_encoder_decoder(self, ids: Tensor, mask: Tensor, output: Tensor) -> dict[str, Any]:
        """The negative source (B · n, S), encoded once, and the output so far (B · n, T)."""
        if self.memory is None:
            self.memory = self.model.get_encoder()(ids, mask)
        inputs = {"encoder_outputs": self.memory, "decoder_input_ids": output, "attention_mask": mask}
        if self.begun_mask is not None:
            repeats = output.shape[0] // len(self.ids)
            begun = self.begun_mask[:: len(self.begun_mask) // len(self.ids)].repeat_interleave(repeats, dim=0)
            inputs["decoder_attention_mask"] = F.pad(begun, (0, output.shape[1] - begun.shape[1]), value=1)
        return inputs

    def inputs_of_decoder(self, ids: Tensor, mask: Tensor, input_ids: Tensor) -> dict[str, Any]:
        """The negative prompt (B · n, S), and behind it what was generated behind the prompt."""
        output = input_ids[:, self.prompt_length :]
        mask = torch.cat([mask, torch.ones_like(output)], dim=1)
        return {
            "input_ids": torch.cat([ids, output], dim=1),
            "attention_mask": mask,
            "position_ids": positions_in_row(mask.bool(), "skipped"),  # `generate` counts the prompt in the same way
        }

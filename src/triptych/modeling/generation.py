"""The paper's options of beam search (section 6.1), on top of transformers' `generate`."""

from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, StoppingCriteria, StoppingCriteriaList

# Three ways to say how long an output may be; the strongest place that names one of them decides.
LENGTH_OPTIONS = ("max_length", "max_new_tokens", "max_length_beyond_source")


class GNMTLengthPenalty(float):
    """An exponent α for which length ** α is ((5 + length) / 6) ** α: Wu et al. 2016, equation (14)."""

    def __rpow__(self, length: float) -> float:  # type: ignore[override]
        return ((5 + length) / 6) ** float(self)


class MaxLengthBeyondSource(StoppingCriteria):
    """Ends each output `margin` tokens past the length of its own source, however long the others in the batch are.

    Args:
        source_lengths: (B,) number of source tokens.
    """

    def __init__(self, source_lengths: Tensor, margin: int):
        self.limits = source_lengths + margin

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        rows = self.limits.to(input_ids.device).repeat_interleave(input_ids.shape[0] // self.limits.shape[0])
        return input_ids.shape[1] - 1 >= rows  # the start token is not part of the output


def source_lengths(inputs: Tensor | None, kwargs: dict[str, Any]) -> Tensor:
    """How many source tokens each row has: (B,). From the mask where there is one, else from the shape."""
    if (mask := kwargs.get("attention_mask")) is not None:
        return mask.sum(-1)
    encoded = kwargs.get("encoder_outputs")
    candidates = (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds"), encoded and encoded[0])
    source = next(candidate for candidate in candidates if candidate is not None)
    return torch.full((source.shape[0],), source.shape[1], device=source.device)


class TriptychGenerationMixin(GenerationMixin):
    """`generate` with two more options, given as arguments or kept in `generation_config`:

    - `gnmt_length_penalty` (float): beams are ranked by log P(Y|X) / ((5 + |Y|) / 6)^α. The paper uses α = 0.6.
    - `max_length_beyond_source` (int): an output may be this many tokens longer than its source; the paper uses 50.
      For the encoder–decoder; `max_new_tokens` or `max_length` take precedence.
    """

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        given = {name: kwargs.pop(name) for name in ("gnmt_length_penalty",) if name in kwargs}
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        for name, value in given.items():
            setattr(generation_config, name, value)
        if (alpha := getattr(generation_config, "gnmt_length_penalty", None)) is not None:
            generation_config.length_penalty = GNMTLengthPenalty(alpha)
        return generation_config, model_kwargs

    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' `generate`, with the options of this class.

        Raises:
            ValueError: `max_length_beyond_source` for a model that has no source.
        """

        sources = (kwargs, *(vars(c) for c in (generation_config, self.generation_config) if c is not None))
        stated = ({name: source.get(name) for name in LENGTH_OPTIONS} for source in sources)
        lengths = next((lengths for lengths in stated if any(v is not None for v in lengths.values())), {})
        margin = lengths.pop("max_length_beyond_source", None)
        kwargs.pop("max_length_beyond_source", None)
        if margin is not None and not any(v is not None for v in lengths.values()):
            if not self.config.is_encoder_decoder:
                raise ValueError("max_length_beyond_source needs a source; use max_new_tokens with a decoder")
            tokens = source_lengths(inputs, kwargs)
            longest = min(int(tokens.max()) + margin, self.config.max_position_embeddings)
            kwargs |= {"max_length": 1 + longest, "max_new_tokens": None}
            per_row = MaxLengthBeyondSource(tokens, margin)
            stopping_criteria = StoppingCriteriaList([*(stopping_criteria or []), per_row])
        return super().generate(inputs, generation_config, logits_processor, stopping_criteria, **kwargs)

"""The paper's options of beam search (section 6.1) for transformers' `generate`: length penalty and maximal length."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from .generation_repairs import RepairedGenerationMixin

# Three ways to say how long an output may be. The arguments of `generate` come first, then the `generation_config` of
# the call, then that of the model. The first of these that sets one of the options decides.
LENGTH_OPTIONS = ("max_length", "max_new_tokens", "max_length_beyond_source")


class GNMTLengthPenalty(float):
    """An exponent α for which length ** α is ((5 + length) / 6) ** α: Wu et al. 2016, equation (14)."""

    def __rpow__(self, length: float) -> float:  # type: ignore[override]
        return ((5 + length) / 6) ** float(self)


class MaxLengthBeyondSource(StoppingCriteria):
    """Ends each output when it has `margin` tokens more than its source.

    The length of the other sources in the batch plays no role.

    Args:
        source_lengths: (B,) the number of tokens in each source.
    """

    def __init__(self, source_lengths: Tensor, margin: int):
        self.limits = source_lengths + margin

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Which rows have ended: input_ids (B · n, T) with n beams for each source → (B · n,) of bools."""
        rows = self.limits.to(input_ids.device).repeat_interleave(input_ids.shape[0] // self.limits.shape[0])
        return input_ids.shape[1] - 1 >= rows  # the start token is not part of the output


def source_lengths(inputs: Tensor | None, kwargs: dict[str, Any]) -> Tensor:
    """The number of source tokens in each row, (B,), from the mask or, where there is none, from the shape."""
    if (mask := kwargs.get("attention_mask")) is not None:
        return mask.sum(-1)
    encoded = kwargs.get("encoder_outputs")
    candidates = (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds"), encoded and encoded[0])
    source = next(candidate for candidate in candidates if candidate is not None)
    return torch.full((source.shape[0],), source.shape[1], device=source.device)


def stated(source: Any, name: str) -> Any:
    """The value of an option in the arguments of `generate` or in a generation configuration. None: it is not set."""
    if isinstance(source, dict):
        return source.get(name)
    return source.stated(name) if hasattr(source, "stated") else getattr(source, name, None)


def check_paper_options(source: Any) -> None:
    """Refuses values of the paper's options that have no meaning.

    Raises:
        ValueError: an option has such a value; the message names both.
    """
    margin, alpha = stated(source, "max_length_beyond_source"), stated(source, "gnmt_length_penalty")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, Integral) or margin < 0):
        raise ValueError(
            f"max_length_beyond_source={margin!r} must be a whole number of at least 0, the tokens that an output may "
            "have more than its source; or None, to leave it out"
        )
    if alpha is not None and (isinstance(alpha, bool) or not isinstance(alpha, Real) or not math.isfinite(alpha)):
        raise ValueError(
            f"gnmt_length_penalty={alpha!r} must be a finite number, such as the 0.6 of the paper; or None, to leave "
            "it out"
        )


def margin_in_force(sources: list[Any]) -> int | None:
    """The value of `max_length_beyond_source`; None if it is not set or another option decides the length.

    Args:
        sources: the arguments and configurations that can set options, the one with the highest precedence first.
    """
    said = ({name: stated(source, name) for name in LENGTH_OPTIONS} for source in sources)
    lengths = next((lengths for lengths in said if any(v is not None for v in lengths.values())), {})
    margin: int | None = lengths.pop("max_length_beyond_source", None)
    return None if any(length is not None for length in lengths.values()) else margin


class TriptychGenerationMixin(RepairedGenerationMixin):
    """`generate` with two more options, which are arguments or values in `generation_config`:

    - `gnmt_length_penalty` (float): beams are ranked by log P(Y|X) / ((5 + |Y|) / 6)^α. The paper uses α = 0.6.
    - `max_length_beyond_source` (int): an output may have this many tokens more than its source. The paper uses 50.
      Only an encoder–decoder has this option. `max_new_tokens` and `max_length` take precedence over it.

    Where source and target have two vocabularies, one id means two different tokens. So the options that look for the
    source's tokens in the output are refused there. A `WatermarkDetector` for such a model needs the configuration of
    the decoder, `model.config.get_text_config(decoder=True)`.
    """

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        """Extends transformers' method: the paper's length penalty takes the place of transformers' penalty."""
        given = {name: kwargs.pop(name) for name in ("gnmt_length_penalty",) if name in kwargs}
        has_other = kwargs.get("length_penalty") is not None
        if generation_config is not None and stated(generation_config, "gnmt_length_penalty") is None:
            has_other = has_other or stated(generation_config, "length_penalty") is not None
        if has_other:  # a penalty of this call replaces the model's penalty, whichever of the two forms that has
            given.setdefault("gnmt_length_penalty", None)
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
        """Extends transformers' `generate` with the options of this class.

        Raises:
            ValueError: `max_length_beyond_source` or `gnmt_length_penalty` has a value without a meaning;
                `max_length_beyond_source` is set, but there is no source; or another option asks for what the model
                cannot do (see `RepairedGenerationMixin.generate`).
        """
        sources = [source for source in (kwargs, generation_config, self.generation_config) if source is not None]
        for source in sources:
            check_paper_options(source)
        margin = margin_in_force(sources)
        kwargs.pop("max_length_beyond_source", None)
        if margin is not None:
            if not self.config.is_encoder_decoder:
                raise ValueError("max_length_beyond_source needs a source; use max_new_tokens with a decoder")
            tokens = source_lengths(inputs, kwargs)
            longest, limit = int(tokens.max()) + margin, self._output_limit
            kwargs |= {"max_length": 1 + min(longest, limit or longest), "max_new_tokens": None}
            per_row = MaxLengthBeyondSource(tokens, margin)
            if any(stated(source, "pad_token_id") is not None for source in sources):
                # transformers pads finished rows if a criterion has this attribute, even if it is None.
                per_row.eos_token_id = None
            stopping_criteria = StoppingCriteriaList([*(stopping_criteria or []), per_row])
        return super().generate(inputs, generation_config, logits_processor, stopping_criteria, **kwargs)

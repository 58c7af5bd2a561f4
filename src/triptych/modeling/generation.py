"""transformers' `generate` with the paper's options of beam search (section 6.1), and exact or refused elsewhere."""

import copy
import math
from functools import wraps
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    MaxLengthCriteria,
    QuantizedCache,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor

from .documents import positions_in_row
from .generation_options import TriptychGenerationConfig, adopt
from .guidance import ClassifierFreeGuidance, last_tokens
from .kernels import check_continuous_batching
from .layout import Layout
from .masks import self_attention_masks
from .positions import POSITIONS

# Three ways to say how long an output may be; the strongest place that names one of them decides.
LENGTH_OPTIONS = ("max_length", "max_new_tokens", "max_length_beyond_source")

# Options that look for the tokens of the source in the output, with the values that switch them off.
OPTIONS_OF_ONE_VOCABULARY = {
    "encoder_repetition_penalty": (None, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "token_healing": (None, False),
}


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


def mask_of_begun_output(kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """The mask of `decoder_input_ids` that go on from a cache, where none is given.

    By its length, transformers knows that those ids stand from the beginning, so that what the cache holds is not run
    again behind itself.
    """
    ids, cache = kwargs.get("decoder_input_ids"), kwargs.get("past_key_values")
    if ids is None or cache is None or kwargs.get("decoder_attention_mask") is not None:
        return {}
    continues = 0 < int(cache.get_seq_length()) < ids.shape[1]
    return {"decoder_attention_mask": torch.ones_like(ids)} if continues else {}


def stated(source: Any, name: str) -> Any:
    """What the arguments of `generate`, or a generation configuration, say about an option; None: nothing."""
    if isinstance(source, dict):
        return source.get(name)
    return source.stated(name) if hasattr(source, "stated") else getattr(source, name, None)


def check_own_options(source: Any) -> None:
    """Refuses values of this package's options that mean nothing.

    Raises:
        ValueError: names the option and its value.
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


class TargetSide:
    """A model whose `config` is that of its decoder, so that `vocab_size` is the size of the target's vocabulary.

    transformers reads `vocab_size` when it handles what was generated. Everything else is the model's.
    """

    def __init__(self, model: Any):
        self.model, self.config = model, model.config.get_text_config(decoder=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class TriptychGenerationMixin(GenerationMixin):
    """`generate` with two more options, given as arguments or kept in `generation_config`:

    - `gnmt_length_penalty` (float): beams are ranked by log P(Y|X) / ((5 + |Y|) / 6)^α. The paper uses α = 0.6.
    - `max_length_beyond_source` (int): an output may be this many tokens longer than its source; the paper uses 50.
      For the encoder–decoder; `max_new_tokens` or `max_length` take precedence.

    Where source and target have vocabularies of their own, the options that look for the source's tokens in the output
    are refused: one id is two tokens there. A `WatermarkDetector` of such a model takes the target's configuration,
    `model.config.get_text_config(decoder=True)`.
    """

    @property
    def generation_config(self) -> GenerationConfig:
        """The options of generation; `TriptychGenerationConfig` says what is kept of them."""
        own: GenerationConfig = self.__dict__["_generation_config"]
        return own

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self.__dict__["_generation_config"] = adopt(config)

    @property
    def _target_side(self) -> Any:
        """The model, as transformers has to see it to handle the target's tokens."""
        return TargetSide(self) if getattr(self.config, "has_two_vocabularies", False) else self

    def compute_transition_scores(self, *args: Any, **kwargs: Any) -> Tensor:
        """As transformers, in the target's vocabulary."""
        scores: Tensor = GenerationMixin.compute_transition_scores(self._target_side, *args, **kwargs)
        return scores

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers, in the target's vocabulary."""
        return GenerationMixin._get_candidate_generator(self._target_side, *args, **kwargs)

    def _validate_generation_mode(
        self, generation_mode: Any, generation_config: GenerationConfig, generation_mode_kwargs: dict[str, Any]
    ) -> None:
        """As transformers, which compares the vocabularies of a model and its assistant: those of the targets."""
        assistant = generation_mode_kwargs.get("assistant_model")
        if isinstance(assistant, TriptychGenerationMixin):
            generation_mode_kwargs = {**generation_mode_kwargs, "assistant_model": assistant._target_side}
        GenerationMixin._validate_generation_mode(
            self._target_side, generation_mode, generation_config, generation_mode_kwargs
        )

    def _prepare_attention_mask_for_generation(
        self, inputs_tensor: Tensor, generation_config: GenerationConfig, model_kwargs: dict[str, Any]
    ) -> Tensor:
        """As transformers; a source in a vocabulary of its own is padded with the model's token, not the output's."""
        if getattr(self.config, "has_two_vocabularies", False) and self.config.pad_token_id is not None:
            generation_config = copy.copy(generation_config)
            generation_config._pad_token_tensor = torch.tensor(self.config.pad_token_id, device=inputs_tensor.device)
        mask: Tensor = super()._prepare_attention_mask_for_generation(inputs_tensor, generation_config, model_kwargs)
        return mask

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        given = {name: kwargs.pop(name) for name in ("gnmt_length_penalty",) if name in kwargs}
        own = kwargs.get("length_penalty") is not None
        if generation_config is not None and stated(generation_config, "gnmt_length_penalty") is None:
            own = own or stated(generation_config, "length_penalty") is not None
        if own:  # a call's penalty replaces the model's, whatever its form
            given.setdefault("gnmt_length_penalty", None)
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        for name, value in given.items():
            setattr(generation_config, name, value)
        if (alpha := getattr(generation_config, "gnmt_length_penalty", None)) is not None:
            generation_config.length_penalty = GNMTLengthPenalty(alpha)
        if self.config.is_encoder_decoder:
            # The source is encoded at once; transformers would cut its mask to the pieces of the output.
            generation_config.prefill_chunk_size = None
        self._check_early_exit(getattr(generation_config, "assistant_early_exit", None))
        self._check_vocabularies(generation_config)
        return generation_config, model_kwargs

    @property
    def _output_limit(self) -> int | None:
        """The most tokens that the generating stack can take; None: any number."""
        limit: int | None = self.config.get_text_config(decoder=True).position_limit
        return limit

    def _prepare_generated_length(
        self,
        generation_config: GenerationConfig,
        has_default_max_length: bool,
        *,
        input_ids_length: int,
        **kwargs: Any,
    ) -> GenerationConfig:
        """As transformers, which keeps its default length below `max_position_embeddings`, whatever the positions."""
        default = generation_config.max_length
        generation_config = super()._prepare_generated_length(
            generation_config=generation_config,
            has_default_max_length=has_default_max_length,
            input_ids_length=input_ids_length,
            **kwargs,
        )
        if has_default_max_length and generation_config.max_new_tokens is None:
            longest = default + input_ids_length
            generation_config.max_length = min(longest, self._output_limit or longest)
        return generation_config

    def _get_stopping_criteria(self, *args: Any, **kwargs: Any) -> StoppingCriteriaList:
        """As transformers, whose warning of too long an output is for positions that have an end."""
        criteria = super()._get_stopping_criteria(*args, **kwargs)
        for criterion in criteria:
            if isinstance(criterion, MaxLengthCriteria):
                criterion.max_position_embeddings = self._output_limit
        return criteria

    def _check_vocabularies(self, generation_config: GenerationConfig) -> None:
        if not getattr(self.config, "has_two_vocabularies", False):
            return
        for name, off in OPTIONS_OF_ONE_VOCABULARY.items():
            if (value := getattr(generation_config, name, None)) not in off:
                raise ValueError(
                    f"{name}={value} looks for tokens of the source in the output, but source and target have "
                    f"vocabularies of their own (decoder_vocab_size={self.config.decoder_vocab_size}), and an id is a "
                    f"token of either; leave {name} out"
                )

    def _check_early_exit(self, depth: int | None) -> None:
        if depth is None:
            return
        if self.config.is_encoder_decoder:
            raise ValueError(
                f"assistant_early_exit={depth} drafts with the first layers of a decoder alone; give an "
                "encoder–decoder an assistant_model or prompt_lookup_num_tokens"
            )
        if not 1 <= depth < self.config.num_hidden_layers:
            raise ValueError(
                f"assistant_early_exit={depth} must leave out some of the num_hidden_layers="
                f"{self.config.num_hidden_layers}; choose 1 to {self.config.num_hidden_layers - 1}"
            )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers, for a model whose requests can be taken apart into pages.

        Raises:
            ValueError: an encoder–decoder, relative positions, or values and keys of different widths.
        """
        check_continuous_batching(self.config, POSITIONS[self.config.positions].adds_bias)
        return super().init_continuous_batching(*args, **kwargs)

    def create_masks_for_generate(
        self, config: Any, inputs_embeds: Tensor, attention_mask: Any, past_key_values: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The masks of a step, made before it where the step itself is compiled: one for each kind of layer."""
        own = past_key_values
        if isinstance(past_key_values, EncoderDecoderCache):
            own = past_key_values.self_attention_cache
        side = self.config.get_text_config(decoder=True)
        kinds = {side.attention_kind(i) for i in range(side.num_hidden_layers)}
        none_given = torch.arange(inputs_embeds.shape[1])[None]
        return self_attention_masks(side, kinds, True, inputs_embeds, Layout(none_given, attention_mask), own)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # by whose arguments transformers decides what it can do
    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As transformers, with the positions of a left-padded output, which masks made before the step hide."""
        mask, cache = kwargs.get("decoder_attention_mask"), kwargs.get("past_key_values")
        counted = kwargs.get("decoder_position_ids") is not None
        if mask is not None and not counted and cache is not None and cache.is_compileable:
            side = self.config.get_text_config(decoder=True)
            kwargs["decoder_position_ids"] = positions_in_row(mask.bool(), side.masked_positions)
        return super().prepare_inputs_for_generation(*args, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As transformers, which quantises the cache of decoders only."""
        quantized = generation_config.cache_implementation == "quantized" and generation_config.use_cache is not False
        if not (quantized and self.config.is_encoder_decoder and model_kwargs.get("past_key_values") is None):
            return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        half = self.config.get_text_config(decoder=True)
        options = {"config": half, "backend": "quanto", **(generation_config.cache_config or {})}
        memory = DynamicCache(config=half)  # read at every step and never longer
        model_kwargs["past_key_values"] = EncoderDecoderCache(QuantizedCache(**options), memory)
        return None

    def _get_logits_processor(
        self,
        generation_config: GenerationConfig,
        input_ids_seq_length: int | None = None,
        encoder_input_ids: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> LogitsProcessorList:
        """As transformers, with the guidance of this package."""
        processors: LogitsProcessorList = GenerationMixin._get_logits_processor(
            self._target_side, generation_config, input_ids_seq_length, encoder_input_ids, *args, **kwargs
        )
        for i, processor in enumerate(processors):
            if isinstance(processor, UnbatchedClassifierFreeGuidanceLogitsProcessor) and encoder_input_ids is not None:
                ids, mask = kwargs.get("negative_prompt_ids"), kwargs.get("negative_prompt_attention_mask")
                given = kwargs.get("model_kwargs") or {}
                if ids is None:
                    ids, mask = self._empty_prompt(encoder_input_ids, given), None
                scale, length = generation_config.guidance_scale, input_ids_seq_length or 0
                begun = given.get("decoder_attention_mask")
                processors[i] = ClassifierFreeGuidance(scale, self, length, ids, mask, begun)
        return processors

    def _empty_prompt(self, prompt: Tensor, model_kwargs: dict[str, Any]) -> Tensor:
        """What says nothing of a prompt, or source, (B, S): its last token, (B, 1)."""
        if prompt.ndim != 2 or prompt.is_floating_point() or (prompt < 0).any():
            raise ValueError("guidance_scale needs negative_prompt_ids where the prompt is not given as token ids")
        mask = model_kwargs.get("attention_mask")
        return last_tokens(prompt, None if mask is None else mask[:: len(mask) // len(prompt)])

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
            ValueError: `max_length_beyond_source` or `gnmt_length_penalty` with a value that means nothing; an option
                that the model cannot honour: `max_length_beyond_source` without a source,
                `assistant_early_exit` of an encoder–decoder or of no fewer layers, `cache_implementation="paged"` as
                `init_continuous_batching` says, one of `OPTIONS_OF_ONE_VOCABULARY` where there are two.
        """
        if isinstance(self.generation_config, TriptychGenerationConfig):
            self.generation_config.forget_defaults()
        sources = [source for source in (kwargs, generation_config, self.generation_config) if source is not None]
        for source in sources:
            check_own_options(source)
        said = ({name: stated(source, name) for name in LENGTH_OPTIONS} for source in sources)
        lengths = next((lengths for lengths in said if any(v is not None for v in lengths.values())), {})
        margin = lengths.pop("max_length_beyond_source", None)
        kwargs.pop("max_length_beyond_source", None)
        if margin is not None and not any(v is not None for v in lengths.values()):
            if not self.config.is_encoder_decoder:
                raise ValueError("max_length_beyond_source needs a source; use max_new_tokens with a decoder")
            tokens = source_lengths(inputs, kwargs)
            longest = int(tokens.max()) + margin
            if (limit := self._output_limit) is not None:
                longest = min(longest, limit)
            kwargs |= {"max_length": 1 + longest, "max_new_tokens": None}
            per_row = MaxLengthBeyondSource(tokens, margin)
            if any(stated(source, "pad_token_id") is not None for source in sources):
                # transformers pads rows that have ended where a criterion has this attribute, an end token or not
                per_row.eos_token_id = None
            stopping_criteria = StoppingCriteriaList([*(stopping_criteria or []), per_row])
        if self.config.is_encoder_decoder:
            kwargs |= mask_of_begun_output(kwargs)
        depth = self.config.num_hidden_layers
        try:
            return super().generate(inputs, generation_config, logits_processor, stopping_criteria, **kwargs)
        finally:  # early exit shortens the configuration while it drafts, and leaves it so when something fails
            if self.config.num_hidden_layers != depth:
                self.config.num_hidden_layers = depth

"""Repairs of transformers' `generate`, which would compute something wrong for these models in some cases.

transformers does not support two vocabularies, positions without a limit, or a padded output before a compiled step.
For an encoder–decoder it supports neither a quantised cache nor guidance. Options that cannot be repaired are refused.
"""

import copy
from functools import wraps
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
    StoppingCriteriaList,
)
from transformers.generation.logits_process import UnbatchedClassifierFreeGuidanceLogitsProcessor

from .documents import positions_in_row
from .generation_options import TriptychGenerationConfig
from .guidance import ClassifierFreeGuidance, last_tokens
from .kernels import check_continuous_batching
from .layout import Layout
from .masks import self_attention_masks
from .positions import POSITIONS

# Options that look for the tokens of the source in the output, with the values that switch each of them off.
OPTIONS_OF_ONE_VOCABULARY = {
    "encoder_repetition_penalty": (None, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "token_healing": (None, False),
}


def mask_of_begun_output(kwargs: dict[str, Any]) -> dict[str, Tensor]:
    """A mask of ones for `decoder_input_ids` whose first tokens are in the cache already, if no mask is given.

    The length of the mask tells transformers that these tokens are in the cache. Without the mask, it would run them
    again, behind the cache.
    """
    ids, cache = kwargs.get("decoder_input_ids"), kwargs.get("past_key_values")
    if ids is None or cache is None or kwargs.get("decoder_attention_mask") is not None:
        return {}
    continues = 0 < int(cache.get_seq_length()) < ids.shape[1]
    return {"decoder_attention_mask": torch.ones_like(ids)} if continues else {}


class TargetSide:
    """A view of a model in which `config` is that of the decoder, so `vocab_size` is that of the target's vocabulary.

    transformers reads `vocab_size` when it handles generated tokens. All other attributes are those of the model.
    """

    def __init__(self, model: Any):
        self.model, self.config = model, model.config.get_text_config(decoder=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class RepairedGenerationMixin(GenerationMixin):
    """transformers' generation for a decoder, or an encoder–decoder with one or two vocabularies."""

    @property
    def generation_config(self) -> GenerationConfig:
        """The model's options of generation.

        A plain `GenerationConfig` that is assigned here is copied into a `TriptychGenerationConfig`, which does not
        keep defaults that a program fills in. To change an option later, change it in `model.generation_config`. A
        change of the object that was assigned does not reach the model.
        """
        options: GenerationConfig = self.__dict__["_generation_config"]
        return options

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        if type(config) is GenerationConfig:
            config = TriptychGenerationConfig.copied_from(config)
        self.__dict__["_generation_config"] = config

    @property
    def _generating_stack(self) -> Any:
        """The stack that generates: the body of a decoder, or the decoder of an encoder–decoder."""
        return self.get_decoder()

    @property
    def _target_side(self) -> Any:
        """The model to give to transformers where it handles tokens of the target."""
        return TargetSide(self) if getattr(self.config, "has_two_vocabularies", False) else self

    def compute_transition_scores(self, *args: Any, **kwargs: Any) -> Tensor:
        """Extends transformers' method: the ids belong to the target's vocabulary."""
        scores: Tensor = GenerationMixin.compute_transition_scores(self._target_side, *args, **kwargs)
        return scores

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: the ids belong to the target's vocabulary."""
        return GenerationMixin._get_candidate_generator(self._target_side, *args, **kwargs)

    def _validate_generation_mode(
        self, generation_mode: Any, generation_config: GenerationConfig, generation_mode_kwargs: dict[str, Any]
    ) -> None:
        """Extends transformers' method: compares the target vocabularies of a model and its assistant."""
        assistant = generation_mode_kwargs.get("assistant_model")
        if isinstance(assistant, RepairedGenerationMixin):
            generation_mode_kwargs = {**generation_mode_kwargs, "assistant_model": assistant._target_side}
        GenerationMixin._validate_generation_mode(
            self._target_side, generation_mode, generation_config, generation_mode_kwargs
        )

    def _prepare_attention_mask_for_generation(
        self, inputs_tensor: Tensor, generation_config: GenerationConfig, model_kwargs: dict[str, Any]
    ) -> Tensor:
        """Extends transformers' method: with two vocabularies, the model's padding token marks padding in the source.

        The padding token of `generation_config` is for outputs, so it is a token of the target.
        """
        if getattr(self.config, "has_two_vocabularies", False) and self.config.pad_token_id is not None:
            generation_config = copy.copy(generation_config)
            generation_config._pad_token_tensor = torch.tensor(self.config.pad_token_id, device=inputs_tensor.device)
        mask: Tensor = super()._prepare_attention_mask_for_generation(inputs_tensor, generation_config, model_kwargs)
        return mask

    @property
    def _output_limit(self) -> int | None:
        """The greatest number of tokens that the generating stack can take; None: there is no limit."""
        limit: int | None = self._generating_stack.config.position_limit
        return limit

    def _prepare_generated_length(
        self,
        generation_config: GenerationConfig,
        has_default_max_length: bool,
        *,
        input_ids_length: int,
        **kwargs: Any,
    ) -> GenerationConfig:
        """Extends transformers' method: only learned positions limit the default length of an output."""
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
        """Extends transformers' method: warns of an output that is too long only if positions are learned."""
        criteria = super()._get_stopping_criteria(*args, **kwargs)
        for criterion in criteria:
            if isinstance(criterion, MaxLengthCriteria):
                criterion.max_position_embeddings = self._output_limit
        return criteria

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None, **kwargs: Any
    ) -> tuple[GenerationConfig, dict[str, Any]]:
        """Extends transformers' method: refuses options that the model cannot honour."""
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if self.config.is_encoder_decoder:
            # The source is encoded at once. With this option, transformers would cut the source's mask into pieces of
            # the output.
            generation_config.prefill_chunk_size = None
        self._check_early_exit(getattr(generation_config, "assistant_early_exit", None))
        self._check_vocabularies(generation_config)
        return generation_config, model_kwargs

    def _check_vocabularies(self, generation_config: GenerationConfig) -> None:
        """Raises ValueError for an option that needs one common vocabulary, if there are two."""
        if not getattr(self.config, "has_two_vocabularies", False):
            return
        for name, off in OPTIONS_OF_ONE_VOCABULARY.items():
            if (value := getattr(generation_config, name, None)) not in off:
                raise ValueError(
                    f"{name}={value} looks for tokens of the source in the output, but source and target have two "
                    f"vocabularies (decoder_vocab_size={self.config.decoder_vocab_size}), in which one id is two "
                    f"tokens; leave {name} out"
                )

    def _check_early_exit(self, depth: int | None) -> None:
        """Raises ValueError if the first `depth` layers cannot draft for the whole model."""
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
        """Extends transformers' method: refuses models whose cache cannot be divided into pages.

        Raises:
            ValueError: the model is an encoder–decoder, its positions add a bias to the scores, or its values and keys
                have different widths.
        """
        check_continuous_batching(self.config, POSITIONS[self.config.positions].adds_bias)
        return super().init_continuous_batching(*args, **kwargs)

    def create_masks_for_generate(
        self, config: Any, inputs_embeds: Tensor, attention_mask: Any, past_key_values: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Extends transformers' method: makes the masks of a compiled step, one for each kind of layer.

        They are made before the step, so that one compiled step works for all lengths.
        """
        cache = past_key_values
        if isinstance(past_key_values, EncoderDecoderCache):
            cache = past_key_values.self_attention_cache
        stack = self._generating_stack
        kinds = {stack.config.attention_kind(i) for i in range(stack.depth)}
        no_positions = torch.arange(inputs_embeds.shape[1])[None]
        layout = Layout(no_positions, attention_mask)
        return self_attention_masks(stack.config, kinds, True, inputs_embeds, layout, cache)

    @wraps(GenerationMixin.prepare_inputs_for_generation)  # transformers inspects the names of its arguments
    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Extends transformers' method: computes the positions of a left-padded output before a compiled step.

        The step itself does not see the padding, because its masks are made before it.
        """
        mask, cache = kwargs.get("decoder_attention_mask"), kwargs.get("past_key_values")
        counted = kwargs.get("decoder_position_ids") is not None
        if mask is not None and not counted and cache is not None and cache.is_compileable:
            counting = self._generating_stack.config.masked_positions
            kwargs["decoder_position_ids"] = positions_in_row(mask.bool(), counting)
        return super().prepare_inputs_for_generation(*args, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Extends transformers' method: also quantises the cache of an encoder–decoder."""
        quantized = generation_config.cache_implementation == "quantized" and generation_config.use_cache is not False
        if not (quantized and self.config.is_encoder_decoder and model_kwargs.get("past_key_values") is None):
            return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        half = self.config.get_text_config(decoder=True)
        options = {"config": half, "backend": "quanto", **(generation_config.cache_config or {})}
        memory = DynamicCache(config=half)  # not quantised, because the source does not grow and each step reads it
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
        """Extends transformers' method: replaces transformers' guidance by that of this package."""
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
        """The neutral prompt or source, if no negative one is given: the last token of each row, (B, S) → (B, 1).

        Raises:
            ValueError: the prompt is not given as token ids.
        """
        if prompt.ndim != 2 or prompt.is_floating_point() or (prompt < 0).any():
            raise ValueError("guidance_scale needs negative_prompt_ids if the prompt is not given as token ids")
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
        """Extends transformers' method: refuses options that it would compute wrong, and restores the configuration.

        Raises:
            ValueError: an option asks for what the model cannot do. `assistant_early_exit` needs a decoder, and fewer
                layers than it has; `cache_implementation="paged"` needs a model that `init_continuous_batching`
                accepts; `OPTIONS_OF_ONE_VOCABULARY` need one vocabulary.
        """
        if isinstance(self.generation_config, TriptychGenerationConfig):
            self.generation_config.forget_defaults()
        if self.config.is_encoder_decoder:
            self.base_model.share_kernel()
            kwargs |= mask_of_begun_output(kwargs)
        depth = self.config.num_hidden_layers
        try:
            return super().generate(inputs, generation_config, logits_processor, stopping_criteria, **kwargs)
        finally:  # early exit changes num_hidden_layers while it drafts, and does not restore it after an error
            if self.config.num_hidden_layers != depth:
                self.config.num_hidden_layers = depth

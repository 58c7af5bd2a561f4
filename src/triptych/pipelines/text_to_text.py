"""Text in, text out, with an encoder-decoder: translation, summarization, text2text-generation.

The interface and the outputs are those of the pipelines that transformers had up to version 4.
"""

import collections.abc
import os
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.pipelines import Pipeline

from ..conversion.limits import position_limit
from ..tokenization import TARGET_SUBFOLDER

_UNLIMITED = 10**9  # tokenizers say 1e30 when they know no limit
_LENGTHS = {"max_length", "max_new_tokens", "max_length_beyond_source"}  # three ways to say how long an output may be


class TextToTextPipeline(Pipeline):
    """What the three tasks share: tokenize, `model.generate()`, decode.

    Called with a string, it returns a list of `num_return_sequences` dicts; with a list of strings, one dict per
    string (a list of dicts when several sequences are asked for); with a generator or a data set, an iterator over
    lists of dicts. `batch_size` says how many inputs share a forward pass.

    What generation does is decided, from the strongest to the weakest, by: the options of the call, those given
    to `pipeline()`, the model's `generation_config`, the config's `task_specific_params`, and
    `default_generation`.

    Args:
        target_tokenizer: decodes the output; None: the tokenizer of the input does.
        kwargs: as `transformers.Pipeline`.

    Options, in `pipeline()` or in a call: `truncation` (cut inputs that are too long, instead of raising),
    `prefix` (put before each input, as T5 wants it), `return_tensors` (token ids instead of text),
    `clean_up_tokenization_spaces`, and everything that `model.generate()` takes.
    """

    output_name = "generated"
    default_generation = {"max_new_tokens": 256, "num_beams": 4}

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(self, *args: Any, target_tokenizer: PreTrainedTokenizerBase | None = None, **kwargs: Any) -> None:
        self.target_tokenizer = target_tokenizer
        super().__init__(*args, **kwargs)
        if not (self.model.config.is_encoder_decoder and self.model.can_generate()):
            raise ValueError(
                f"task {self.task!r} needs an encoder-decoder model with generate(), "
                f"{type(self.model).__name__} is not one"
            )

    @property
    def positions(self) -> int | None:
        """How many tokens the source may have; None: any number."""
        return position_limit(self.model.config, "encoder")

    @property
    def target_positions(self) -> int | None:
        """How many tokens the output may have, with the start token; None: any number."""
        return position_limit(self.model.config, "decoder")

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Saves the model and its tokenizers, so that `pipeline(task, model=save_directory)` brings them back."""
        super().save_pretrained(save_directory, **kwargs)
        if self.target_tokenizer is not None:
            self.target_tokenizer.save_pretrained(os.path.join(save_directory, TARGET_SUBFOLDER))

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """See the class.

        Raises:
            TypeError: an input is not a string.
            ValueError: an input has no tokens, more tokens than the model has positions, or tokens that are not
                in the model's vocabulary.
        """
        # transformers streams generators and torch's data sets, takes lists at once, and holds the rest for ONE input.
        if isinstance(inputs, collections.abc.Iterator):
            inputs = (text for text in inputs)
        elif isinstance(inputs, collections.abc.Sequence) and not isinstance(inputs, str | Dataset):
            inputs = list(inputs)
        if inputs == []:
            return []
        outputs = super().__call__(inputs, *args, **kwargs)
        if isinstance(inputs, list) and all(len(sequences) == 1 for sequences in outputs):
            return [sequences[0] for sequences in outputs]
        return outputs

    def _sanitize_parameters(
        self,
        *,
        truncation: bool | str | None = None,
        prefix: str | None = None,
        return_tensors: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess = {"truncation": truncation, "prefix": prefix}
        postprocess = {
            "return_tensors": return_tensors,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
        }
        # What the call does not name is left to what pipeline() was given, so only the named ones are passed on.
        return _given(preprocess), generate_kwargs, _given(postprocess)

    def preprocess(
        self, text: str, truncation: bool | str = False, prefix: str | None = None, **tokenize_kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """`text` as the model's inputs: tensors of shape (1, tokens)."""
        if not isinstance(text, str):
            raise TypeError(f"the {self.task} pipeline takes strings, lists or iterators of them, not {text!r}")
        if prefix is None:
            prefix = self._task_parameters().get("prefix") or getattr(self.model.config, "prefix", None) or ""
        limits = [self.positions or _UNLIMITED, self.tokenizer.model_max_length]
        longest = {"max_length": min(limits)} if truncation and min(limits) < _UNLIMITED else {}
        encoded = self._tokenize(
            prefix + text, return_tensors="pt", truncation=truncation, verbose=False, **longest, **tokenize_kwargs
        )
        encoded.pop("token_type_ids", None)
        self._check_input_ids(encoded["input_ids"], text)
        return dict(encoded)

    def _tokenize(self, text: str, **kwargs: Any) -> Any:
        return self.tokenizer(text, **kwargs)

    def _check_input_ids(self, input_ids: torch.Tensor, text: str) -> None:
        excerpt = repr(text if len(text) <= 60 else text[:57] + "...")
        length, limit = input_ids.shape[-1], self.positions
        if length == 0:
            raise ValueError(f"the input {excerpt} has no tokens")
        if limit is not None and length > limit:
            raise ValueError(
                f"the input {excerpt} has {length} tokens, the model has {limit} positions: "
                "split it, or pass truncation=True to use its beginning only"
            )
        largest, size = int(input_ids.max()), self.model.config.vocab_size
        if largest >= size:
            raise ValueError(
                f"the tokenizer gives the id {largest} for {excerpt}, the model's vocabulary has {size} tokens: "
                "they do not belong together"
            )

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        """Output ids of shape (batch, num_return_sequences, longest output)."""
        if "stop_strings" in generate_kwargs:
            generate_kwargs.setdefault("tokenizer", self.target_tokenizer or self.tokenizer)
        outputs = self.model.generate(**model_inputs, **self._with_defaults(generate_kwargs))
        output_ids = outputs if isinstance(outputs, torch.Tensor) else outputs.sequences
        return {"output_ids": output_ids.unflatten(0, (model_inputs["input_ids"].shape[0], -1))}

    def _task_parameters(self) -> dict[str, Any]:
        """What the config of older checkpoints keeps for this task, for instance T5's `prefix`."""
        return (getattr(self.model.config, "task_specific_params", None) or {}).get(self.task, {})

    def _with_defaults(self, generate_kwargs: dict[str, Any]) -> dict[str, Any]:
        """`generate_kwargs`, completed by the defaults for what neither they nor the model settle."""
        config: GenerationConfig = generate_kwargs.get("generation_config") or self.model.generation_config
        settled = {**config.to_diff_dict(), **generate_kwargs}
        task = {name: value for name, value in self._task_parameters().items() if name != "prefix"}
        defaults = _override(_override(self.default_generation, task), settled)
        if "max_new_tokens" in defaults.keys() - settled.keys() and self.target_positions is not None:
            defaults["max_new_tokens"] = min(
                defaults["max_new_tokens"], self.target_positions - 1
            )  # one is the start token's
        return {name: value for name, value in defaults.items() if name not in settled} | generate_kwargs

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        """One dict for each of the sequences of one input."""
        (sequences,) = model_outputs["output_ids"]
        if return_tensors:
            return [{f"{self.output_name}_token_ids": ids} for ids in sequences]
        tokenizer = self.target_tokenizer or self.tokenizer
        texts = tokenizer.batch_decode(
            sequences, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
        )
        return [{f"{self.output_name}_text": text} for text in texts]


class Text2TextGenerationPipeline(TextToTextPipeline):
    """Task `text2text-generation`; returns `generated_text`."""


class SummarizationPipeline(TextToTextPipeline):
    """Task `summarization`; returns `summary_text`."""

    output_name = "summary"


class TranslationPipeline(TextToTextPipeline):
    """Tasks `translation` and `translation_xx_to_yy`; returns `translation_text`.

    For multilingual models whose tokenizer has language codes (mBART, M2M100, NLLB) the options `src_lang` and
    `tgt_lang` name them; without the options, the xx and yy of the task do.
    """

    output_name = "translation"

    def _sanitize_parameters(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, generate_kwargs, postprocess = super()._sanitize_parameters(**kwargs)
        languages = _given({"src_lang": src_lang, "tgt_lang": tgt_lang})
        if languages and not self._is_multilingual:
            raise ValueError(
                f"src_lang and tgt_lang need a tokenizer with language codes, {type(self.tokenizer).__name__} has none"
            )
        return {**preprocess, **languages}, generate_kwargs, postprocess

    @property
    def _is_multilingual(self) -> bool:
        return hasattr(self.tokenizer, "_build_translation_inputs")

    def _tokenize(self, text: str, **kwargs: Any) -> Any:
        if not self._is_multilingual:
            return super()._tokenize(text, **kwargs)
        source, _, target = self.task.removeprefix("translation").removeprefix("_").partition("_to_")
        languages = {"src_lang": source or None, "tgt_lang": target or None}
        return self.tokenizer._build_translation_inputs(text, **{**languages, **kwargs})

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        target_language = model_inputs.pop("forced_bos_token_id", None)
        if target_language is not None:
            # The collation makes a list, with one entry for each input of the batch; all are the same.
            first = target_language[0] if isinstance(target_language, list) else target_language
            generate_kwargs.setdefault("forced_bos_token_id", first)
        return super()._forward(model_inputs, **generate_kwargs)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _override(weaker: dict[str, Any], stronger: dict[str, Any]) -> dict[str, Any]:
    """Both, the stronger winning; a length in any form replaces a length in any other."""
    dropped = _LENGTHS if _LENGTHS & stronger.keys() else set()
    return {name: value for name, value in weaker.items() if name not in dropped} | stronger

"""Translation, and the languages of multilingual models."""

from typing import Any

import torch

from ..tokenization import target_language_options
from ..tokenization.languages import language_id
from .options import given_options
from .text_to_text import TextToTextPipeline


class TranslationPipeline(TextToTextPipeline):
    """The tasks `translation` and `translation_xx_to_yy`; returns `translation_text`.

    For multilingual models whose tokenizer has language codes (mBART, M2M100, NLLB), the options `src_lang` and
    `tgt_lang` name the languages. Without the options, xx and yy of the task name them, or else the tokenizer.
    """

    output_name = "translation"

    def _sanitize_parameters(
        self, *, src_lang: str | None = None, tgt_lang: str | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        preprocess, generate_kwargs, postprocess = super()._sanitize_parameters(**kwargs)
        languages = given_options({"src_lang": src_lang, "tgt_lang": tgt_lang})
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
        # If the tokenizer has no target language, nobody has chosen its source language; it is only a default.
        preset = self.tokenizer if self.tokenizer.tgt_lang is not None else None
        languages = {
            "src_lang": source or getattr(preset, "src_lang", None),
            "tgt_lang": target or getattr(preset, "tgt_lang", None),
        } | {name: kwargs.pop(name) for name in ("src_lang", "tgt_lang") if name in kwargs}
        for name, code in languages.items():
            language_id(self.tokenizer, code, name)
        inputs = self.tokenizer._build_translation_inputs(text, **languages, **kwargs)
        del inputs["forced_bos_token_id"]
        options, start = self.model.generation_config, self.model.config.decoder_start_token_id
        start = start if options.decoder_start_token_id is None else options.decoder_start_token_id
        return dict(inputs) | target_language_options(self.tokenizer, start, languages["tgt_lang"])

    def _forward(self, model_inputs: dict[str, Any], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        for name in ("forced_bos_token_id", "decoder_start_token_id"):
            target_language = model_inputs.pop(name, None)
            if target_language is not None:
                # The collation makes a list with the same entry for each input of the batch.
                first = target_language[0] if isinstance(target_language, list) else target_language
                generate_kwargs.setdefault(name, first)
        return super()._forward(model_inputs, **generate_kwargs)

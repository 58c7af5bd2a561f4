"""Translating many sentences with any encoder–decoder, and scoring the result."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..configuration.special_tokens import tokenizer_name
from ..conversion.limits import position_limit
from ..data.collators import pad
from ..data.quantities import counted
from ..data.tokenize import Encoder
from ..tokenization.languages import has_languages, language_ids, target_language_options
from .metrics import load_metric

logger = logging.getLogger(__name__)


@torch.no_grad()
def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    target_tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    batch_size: int = 64,
    accelerator: Accelerator | None = None,
    max_source_length: int | None = None,
    **generate_options: Any,
) -> list[str]:
    """
    Returns the translations of `sources`, in their order.

    A batch consists of sentences of similar length; the longest come first. A source that has more tokens than the
    model has positions is cut, with a warning; only learned positions have such a limit. The translation of a source
    without text (empty, or white space only) is empty. With an `accelerator`, its processes share the work, and each
    gets the whole result.

    Args:
        tokenizer: with language codes, it reads the sources in its `src_lang`, and the model writes its `tgt_lang`.
        target_tokenizer: the tokenizer of the target, where that has its own vocabulary.
        batch_size: the number of sentences that are translated at a time.
        max_source_length: the number of tokens to which a source is cut without a warning; None: only the number of
            positions cuts it.
        **generate_options: arguments of `model.generate`; by default those of the model's generation_config.

    Raises:
        ValueError: neither the tokenizer nor the model says which of many languages to write.
    """
    if not sources:
        return []
    limit = position_limit(model.config, "encoder")
    encode, decoder = Encoder(tokenizer), target_tokenizer or tokenizer
    generate_options = language_options(model, decoder) | generate_options
    ids = encode(list(sources), max_source_length)
    too_long = [row for row, tokens in enumerate(ids) if limit is not None and len(tokens) > limit]
    if too_long:
        logger.warning(
            "cut %s longer than %d tokens, e.g. row %d",
            counted(len(too_long), "sources that are", one="source that is"),
            limit,
            too_long[0] + 1,
        )
        for row, tokens in zip(too_long, encode([sources[row] for row in too_long], limit), strict=True):
            ids[row] = tokens
    with_text = [row for row, source in enumerate(sources) if source.strip()]
    order = sorted(with_text, key=lambda row: -len(ids[row]))
    if accelerator is not None:
        order = order[accelerator.process_index :: accelerator.num_processes]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else model.config.pad_token_id or 0
    was_training = model.training
    model.eval()
    translated: list[tuple[int, str]] = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        input_ids = pad([ids[row] for row in rows], padding).to(model.device)
        attention_mask = pad([[1] * len(ids[row]) for row in rows], 0).to(model.device)
        tokens = model.generate(input_ids=input_ids, attention_mask=attention_mask, **generate_options)
        texts = decoder.batch_decode(tokens, skip_special_tokens=True)
        translated += zip(rows, (text.strip() for text in texts), strict=True)
    model.train(was_training)
    if accelerator is not None and accelerator.num_processes > 1:
        translated = gather_object(translated)
    text_of_row = dict(translated)
    return [text_of_row.get(row, "") for row in range(len(sources))]


def source_prefix(config: Any, task: str) -> str:
    """Returns the text that stands before each source, as T5 needs it: what the pipeline of this name puts there."""
    of_task = (getattr(config, "task_specific_params", None) or {}).get(task) or {}
    return str(of_task.get("prefix", getattr(config, "prefix", None)) or "")


def behind_prefix(prefix: str, sources: Iterable[str]) -> list[str]:
    """Returns the sources with the prefix before each; a blank one stays as it is."""
    return [prefix + source if source.strip() else source for source in sources]


def one_line(text: str) -> str:
    """Returns `text` for a file with a text per line: each line break in it, of any kind, becomes a space."""
    return " ".join(text.splitlines())


def language_options(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Returns the arguments with which `model.generate` writes the target language; empty without languages."""
    options, start = model.generation_config, model.config.decoder_start_token_id
    start = start if options.decoder_start_token_id is None else options.decoder_start_token_id
    chosen = target_language_options(tokenizer, start)
    if chosen or not has_languages(tokenizer):
        return chosen
    if options.forced_bos_token_id is None and start not in language_ids(tokenizer).values():
        raise ValueError(
            f"the tokenizer {tokenizer_name(tokenizer)} knows {len(language_ids(tokenizer))} languages, and neither "
            "it nor the model says which one to write; give the target language (target_lang, the tokenizer's "
            "tgt_lang)"
        )
    return {}


def score_translations(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Returns the corpus scores `bleu` and `chrf` (0 to 100), and their signatures."""
    bleu = load_metric("sacrebleu").compute(predictions=predictions, references=references)
    chrf = load_metric("chrf").compute(predictions=predictions, references=references)
    return {
        "bleu": bleu["score"],
        "chrf": chrf["score"],
        "bleu_signature": bleu["signature"],
        "chrf_signature": chrf["signature"],
    }

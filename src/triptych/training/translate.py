"""Translating many sentences with any encoder–decoder, and scoring the result."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..conversion.limits import position_limit
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
    **generate_options: Any,
) -> list[str]:
    """
    Translations of `sources`, in their order.

    Batches are made of sentences of like length, the longest first. Sources that have more tokens than the model has
    positions are cut, with a warning; only a table of positions ends. With an `accelerator`, its processes share the
    work and each gets the whole result.

    Args:
        target_tokenizer: the target language's, where it has one of its own.
        batch_size: sentences that are translated at a time.
        **generate_options: of `model.generate`; what is not given comes from the model's generation_config.
    """
    if not sources:
        return []
    limit = position_limit(model.config, "encoder")
    ids = tokenizer(list(sources), verbose=False)["input_ids"]
    too_long = [row for row, tokens in enumerate(ids) if limit is not None and len(tokens) > limit]
    if too_long:
        logger.warning(
            "cut %d sources that are longer than %d tokens, e.g. row %d", len(too_long), limit, too_long[0] + 1
        )
        cut = tokenizer([sources[row] for row in too_long], truncation=True, max_length=limit)["input_ids"]
        for row, tokens in zip(too_long, cut, strict=True):
            ids[row] = tokens
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    if accelerator is not None:
        order = order[accelerator.process_index :: accelerator.num_processes]
    was_training = model.training
    model.eval()
    translated: list[tuple[int, str]] = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(model.device)
        tokens = model.generate(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **generate_options
        )
        texts = (target_tokenizer or tokenizer).batch_decode(tokens, skip_special_tokens=True)
        translated += zip(rows, (text.strip() for text in texts), strict=True)
    model.train(was_training)
    if accelerator is not None and accelerator.num_processes > 1:
        translated = gather_object(translated)
    return [text for _, text in sorted(translated)]


def score_translations(predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Corpus `bleu` and `chrf` (0 to 100), and their signatures."""
    bleu = load_metric("sacrebleu").compute(predictions=predictions, references=references)
    chrf = load_metric("chrf").compute(predictions=predictions, references=references)
    return {
        "bleu": bleu["score"],
        "chrf": chrf["score"],
        "bleu_signature": bleu["signature"],
        "chrf_signature": chrf["signature"],
    }


class TranslationEvaluation:
    """BLEU and chrF of a fixed set of pairs, to be computed again and again while a model is trained."""

    def __init__(
        self,
        pairs: Any,
        tokenizer: PreTrainedTokenizerBase,
        target_tokenizer: PreTrainedTokenizerBase | None = None,
        accelerator: Accelerator | None = None,
        **options: Any,
    ) -> None:
        self.sources, self.references = list(pairs["source"]), list(pairs["target"])
        self.tokenizer, self.target_tokenizer = tokenizer, target_tokenizer
        self.accelerator, self.options = accelerator, options

    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        translations = translate(
            model, self.tokenizer, self.sources, self.target_tokenizer, accelerator=self.accelerator, **self.options
        )
        scores = score_translations(translations, self.references)
        return {"bleu": scores["bleu"], "chrf": scores["chrf"]}

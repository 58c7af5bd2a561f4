"""The configuration fields that a tokenizer decides, so that ids and sizes agree in model and tokenizer."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from .families import get_family

# Where a tokenizer lacks a role, another token has it: BERT's tokenizer begins and ends with [CLS] and [SEP];
# T5 and Marian have no beginning and start the decoder from padding; GPT-2 pads with its end.
_FALLBACKS = {
    "pad_token_id": ("pad_token_id", "eos_token_id"),
    "bos_token_id": ("bos_token_id", "cls_token_id"),
    "eos_token_id": ("eos_token_id", "sep_token_id"),
    "decoder_start_token_id": ("bos_token_id", "cls_token_id", "pad_token_id", "eos_token_id"),
}
_REQUIRED = {
    "encoder-decoder": ("pad_token_id", "eos_token_id", "decoder_start_token_id"),
    "encoder": ("pad_token_id",),
    "decoder": ("pad_token_id",),
}


def special_token_config(
    tokenizer: PreTrainedTokenizerBase,
    target_tokenizer: PreTrainedTokenizerBase | None = None,
    family: str = "encoder-decoder",
    pad_to_multiple_of: int | None = None,
) -> dict[str, Any]:
    """The configuration fields that follow from a tokenizer, also from one that was trained elsewhere.

        config = TriptychConfig.from_preset("transformer-base", **special_token_config(tokenizer))

    Args:
        tokenizer: the source's tokenizer; the only one where source and target share a vocabulary.
        target_tokenizer: the target's, where it has a vocabulary of its own. The embeddings are then not shared.
        family: `encoder-decoder`, `encoder` or `decoder`: whose configuration is asked for.
        pad_to_multiple_of: rounds the vocabulary sizes up, for faster matrix products (8 on tensor cores); the ids
            beyond the tokenizer's stand for nothing.

    Returns:
        For an encoder–decoder `vocab_size`, `decoder_vocab_size` (None when shared), `pad_token_id`, `bos_token_id`,
        `eos_token_id`, `decoder_start_token_id`, all ids being the target's; with a target tokenizer also
        `share_encoder_decoder_embeddings=False`. The fields of the other families: `FAMILIES[family].config_fields`.

    Raises:
        ValueError: a token that the family cannot do without has no id; the two tokenizers pad with different ids;
            a target tokenizer is given for a family that has no target.
    """
    fields = get_family(family).config_fields
    if target_tokenizer is not None and "decoder_vocab_size" not in fields:
        raise ValueError(f"family={family!r} has one vocabulary; leave target_tokenizer out")
    target = tokenizer if target_tokenizer is None else target_tokenizer
    separate = target is not tokenizer
    values: dict[str, Any] = {
        "vocab_size": _embedding_rows(tokenizer, pad_to_multiple_of),
        "decoder_vocab_size": _embedding_rows(target, pad_to_multiple_of) if separate else None,
        **{name: _token_id(target, name) for name in _FALLBACKS},
    }
    for name in _REQUIRED[family]:
        if values[name] is None:
            tried = " nor ".join(role.removesuffix("_id") for role in _FALLBACKS[name])
            raise ValueError(
                f"{name} cannot be chosen: the tokenizer {_name(target)} has neither {tried}; "
                f'give it one, e.g. tokenizer.add_special_tokens({{"{_FALLBACKS[name][0].removesuffix("_id")}": "…"}})'
            )
    source_pad = _token_id(tokenizer, "pad_token_id")
    if source_pad != values["pad_token_id"]:
        raise ValueError(
            f"the source tokenizer pads with id {source_pad}, the target tokenizer with id {values['pad_token_id']}, "
            "but a configuration has one pad_token_id; train both with train_tokenizer, which gives padding the id 0"
        )
    chosen = {name: values[name] for name in fields}
    return {**chosen, "share_encoder_decoder_embeddings": False} if separate else chosen


def _token_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    ids = (getattr(tokenizer, role, None) for role in _FALLBACKS[name])
    return next((token_id for token_id in ids if token_id is not None), None)


def _embedding_rows(tokenizer: PreTrainedTokenizerBase, multiple_of: int | None) -> int:
    # Some published vocabularies have gaps: their greatest id lies beyond their length.
    rows = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values()))
    return rows if multiple_of is None else -(-rows // multiple_of) * multiple_of


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__

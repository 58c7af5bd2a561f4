"""The configuration fields that a tokenizer decides, so that ids and sizes agree in model and tokenizer."""

import logging
from typing import Any

from transformers import PreTrainedTokenizerBase

from .families import get_family
from .files import target_side
from .languages import has_languages, language_id, language_ids, name_of

logger = logging.getLogger(__name__)

PADDING = "<pad>"

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
        tokenizer: the source's tokenizer; the only one where source and target share a vocabulary, or where it holds
            both vocabularies itself (FSMT's, Marian's with `separate_vocabs`).
        target_tokenizer: the target's, where it has a vocabulary of its own. The embeddings are then not shared.
        family: `encoder-decoder`, `encoder` or `decoder`: whose configuration is asked for.
        pad_to_multiple_of: rounds the vocabulary sizes up, for faster matrix products (8 on tensor cores); the ids
            beyond the tokenizer's stand for nothing.

    Returns:
        For an encoder–decoder `vocab_size`, `decoder_vocab_size` (None when shared), `pad_token_id`, `bos_token_id`,
        `eos_token_id`, `decoder_start_token_id`, all ids being the target's; with a target tokenizer also
        `share_encoder_decoder_embeddings=False`. The fields of the other families: `FAMILIES[family].config_fields`.
        The decoder starts from the token that begins a text, or else pads. Where the tokenizer itself writes such a
        token, or the language's code, before each target, the decoder starts from the end token, as in BART, mBART-50,
        M2M100 and NLLB; where it writes the language's code after the end, as mBART does, from that code.

    Raises:
        ValueError: a token that the family cannot do without has no id; the two tokenizers pad with different ids;
            a target tokenizer is given for a family that has no target; the tokenizer writes the target's language
            after each text, but has no `tgt_lang`.
    """
    fields = get_family(family).config_fields
    if target_tokenizer is not None and "decoder_vocab_size" not in fields:
        raise ValueError(f"family={family!r} has one vocabulary; leave target_tokenizer out")
    if target_tokenizer is None and family == "encoder-decoder":
        target_tokenizer = target_side(tokenizer)
    target = tokenizer if target_tokenizer is None else target_tokenizer
    separate = target is not tokenizer
    values: dict[str, Any] = {
        "vocab_size": _embedding_rows(tokenizer, pad_to_multiple_of),
        "decoder_vocab_size": _embedding_rows(target, pad_to_multiple_of) if separate else None,
        **{name: _token_id(target, name) for name in _FALLBACKS},
    }
    if family == "encoder-decoder":
        values |= _other_start(target, values)
    for name in _REQUIRED[family]:
        if values[name] is None:
            tried = " nor ".join(role.removesuffix("_id") for role in _FALLBACKS[name])
            raise ValueError(
                f"{name} cannot be chosen: the tokenizer {name_of(target)} has neither {tried}; "
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


def _other_start(tokenizer: PreTrainedTokenizerBase, ids: dict[str, Any]) -> dict[str, int]:
    """`decoder_start_token_id` of a tokenizer that writes a beginning or a language beside each target."""
    around_nothing = tokenizer("", verbose=False)["input_ids"]  # its special tokens alone
    if has_languages(tokenizer) and around_nothing[-1] != ids["eos_token_id"]:
        return {"decoder_start_token_id": language_id(tokenizer, tokenizer.tgt_lang, "tgt_lang")}
    begins = has_languages(tokenizer) or around_nothing[:1] == [tokenizer.bos_token_id]
    return {"decoder_start_token_id": ids["eos_token_id"]} if begins and ids["eos_token_id"] is not None else {}


def complete_for_translation(tokenizer: PreTrainedTokenizerBase) -> None:
    """Gives a tokenizer what an encoder–decoder needs of it: a padding token, and padding on the right.

    A tokenizer without padding token (GPT-2's, a bare SentencePiece model) gets `<pad>`, with a new id unless it has
    such a token already. The tokenizer is changed, and is saved with this.

    Raises:
        ValueError: no token ends a text, or the tokenizer fails on a character that it does not know.
    """
    name = name_of(tokenizer)
    if tokenizer.eos_token_id is None and tokenizer.sep_token_id is None:
        special = [str(token) for token in tokenizer.added_tokens_decoder.values()]
        held = f"its special tokens are {', '.join(special[:8])}" if special else "it has no special tokens"
        raise ValueError(
            f"the tokenizer {name} does not say which token ends a text, so nothing trained with it could stop: it "
            f"has neither eos_token nor sep_token ({held}). Name one and save it, e.g. with tokenizer = "
            'AutoTokenizer.from_pretrained("directory", eos_token="…"); tokenizer.save_pretrained("directory")'
        )
    try:
        unknown = tokenizer("a\ue000", add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:  # `tokenizers` raises nothing more exact
        raise ValueError(
            f"the tokenizer {name} fails on characters that it does not know ({error}); give it an unk_token that is "
            "in its vocabulary"
        ) from error
    if not unknown and tokenizer.unk_token_id is None:
        logger.warning("the tokenizer %s has no unk_token and drops what it does not know", name)
    if tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": PADDING})
        logger.warning("the tokenizer %s has no pad_token: it got %s, id %d", name, PADDING, tokenizer.pad_token_id)
    tokenizer.padding_side = "right"


def _embedding_rows(tokenizer: PreTrainedTokenizerBase, multiple_of: int | None) -> int:
    # Some published vocabularies have gaps: their greatest id lies beyond their length. M2M100's languages lie beyond.
    greatest = max([*tokenizer.get_vocab().values(), *language_ids(tokenizer).values()])
    rows = max(len(tokenizer), 1 + greatest)
    return rows if multiple_of is None else -(-rows // multiple_of) * multiple_of

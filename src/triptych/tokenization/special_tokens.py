"""The configuration fields that a tokenizer decides, so that model and tokenizer have the same ids and sizes."""

from typing import Any

from transformers import PreTrainedTokenizerBase

from ..configuration.special_tokens import TOKEN_ROLES, token_id_of, tokenizer_name
from .families import get_family
from .languages import has_languages, language_id, language_ids
from .two_vocabularies import target_side

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
    """The configuration fields that follow from a tokenizer, whether this package trained it or not.

        config = TriptychConfig.from_preset("transformer-base", **special_token_config(tokenizer))

    Args:
        tokenizer: the tokenizer of the source. It is the only one where source and target share a vocabulary, or where
            it holds both vocabularies (FSMT's, and Marian's with `separate_vocabs`).
        target_tokenizer: the tokenizer of the target, where the target has a separate vocabulary. The embeddings are
            then not shared.
        family: `encoder-decoder`, `encoder` or `decoder`, the family of the configuration.
        pad_to_multiple_of: rounds the vocabulary sizes up, which makes matrix products faster (8 on tensor cores). The
            tokenizer never gives the additional ids.

    Returns:
        For an encoder–decoder `vocab_size`, `decoder_vocab_size` (None when shared), `pad_token_id`, `bos_token_id`,
        `eos_token_id` and `decoder_start_token_id`. All ids are those of the target. With a target tokenizer there is
        also `share_encoder_decoder_embeddings=False`. `FAMILIES[family].config_fields` names the fields of the other
        families.

        `decoder_start_token_id` is the token that begins a text, or else the padding. There are two exceptions. Where
        the tokenizer writes such a token, or the code of the language, before each target, the decoder starts from the
        end token, as in BART, mBART-50, M2M100 and NLLB. Where it writes the code of the language after the end token,
        as in mBART, the decoder starts from that code.

    Raises:
        ValueError: the tokenizer has no token for a role that the family needs; the two tokenizers pad with different
            ids; a target tokenizer is given for a family without a target; the tokenizer writes the language of the
            target after each text, but its `tgt_lang` is not set.
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
        **{role: token_id_of(target, role) for role in TOKEN_ROLES},
    }
    if family == "encoder-decoder":
        values |= _other_start(target, values)
    for role in _REQUIRED[family]:
        if values[role] is None:
            raise _no_token(target, role)
    source_pad = token_id_of(tokenizer, "pad_token_id")
    if source_pad != values["pad_token_id"]:
        raise ValueError(
            f"the source tokenizer pads with id {source_pad}, the target tokenizer with id {values['pad_token_id']}, "
            "but a configuration has one pad_token_id; train both with train_tokenizer, which gives padding the id 0"
        )
    chosen = {name: values[name] for name in fields}
    return {**chosen, "share_encoder_decoder_embeddings": False} if separate else chosen


def _no_token(tokenizer: PreTrainedTokenizerBase, role: str) -> ValueError:
    tokens = [name.removesuffix("_id") for name in TOKEN_ROLES[role]]
    return ValueError(
        f"{role} cannot be chosen: the tokenizer {tokenizer_name(tokenizer)} has neither {' nor '.join(tokens)}; "
        f'give it one, e.g. tokenizer.add_special_tokens({{"{tokens[0]}": "…"}})'
    )


def _other_start(tokenizer: PreTrainedTokenizerBase, ids: dict[str, Any]) -> dict[str, int]:
    """`decoder_start_token_id` for a tokenizer that writes a begin token or a language code around each target.

    The result is empty for other tokenizers.
    """
    around_nothing = tokenizer("", verbose=False)["input_ids"]  # only the special tokens
    if has_languages(tokenizer) and around_nothing[-1] != ids["eos_token_id"]:
        return {"decoder_start_token_id": language_id(tokenizer, tokenizer.tgt_lang, "tgt_lang")}
    begins = has_languages(tokenizer) or around_nothing[:1] == [tokenizer.bos_token_id]
    return {"decoder_start_token_id": ids["eos_token_id"]} if begins and ids["eos_token_id"] is not None else {}


def _embedding_rows(tokenizer: PreTrainedTokenizerBase, multiple_of: int | None) -> int:
    """The number of embeddings that hold every id of the tokenizer, rounded up to a multiple."""
    # Some published vocabularies have gaps, so that their greatest id is beyond their length. The language codes of
    # M2M100 are beyond both.
    greatest = max([*tokenizer.get_vocab().values(), *language_ids(tokenizer).values()])
    rows = max(len(tokenizer), 1 + greatest)
    return rows if multiple_of is None else -(-rows // multiple_of) * multiple_of

"""The languages of tokenizers that write language codes (mBART, mBART-50, M2M100, NLLB, ...).

Such a tokenizer writes a language code beside each text: the code of `src_lang` beside a source, and the code of
`tgt_lang` beside a target (`tokenizer(text_target=...)`). In training, the model learns from the code of the target
which language to write. Generation must therefore begin with that code, too.
"""

import difflib
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..configuration.special_tokens import tokenizer_name


def has_languages(tokenizer: Any) -> bool:
    """Whether the tokenizer writes the code of a language beside each text."""
    return hasattr(tokenizer, "_switch_to_target_mode") and hasattr(tokenizer, "tgt_lang")


def language_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The id of the code of each language that the tokenizer knows; empty for a tokenizer without languages."""
    if not has_languages(tokenizer):
        return {}
    if hasattr(tokenizer, "get_lang_id"):  # M2M100 writes the code "de" as the token "__de__"
        return {code: tokenizer.get_lang_id(code) for code in tokenizer.lang_code_to_token}
    codes = getattr(tokenizer, "lang_code_to_id", None) or map(str, tokenizer.extra_special_tokens)
    ids = {code: tokenizer.convert_tokens_to_ids(code) for code in codes}
    return {code: token_id for code, token_id in ids.items() if token_id not in (None, tokenizer.unk_token_id)}


def set_languages(
    tokenizer: PreTrainedTokenizerBase,
    target_tokenizer: PreTrainedTokenizerBase | None = None,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> None:
    """Sets the language of the sources and the language of the targets; a language that is not given stays as it is.

    The tokenizers are changed, and are saved with these languages. The codes of all languages become special tokens,
    so that decoding can leave them out.

    Args:
        tokenizer: the tokenizer of the source, or the only one.
        target_tokenizer: the tokenizer of the target, where there are two.
        source_lang, target_lang: codes, as the tokenizer names them: `eng_Latn` (NLLB), `en_XX` (mBART), `en`
            (M2M100).

    Raises:
        ValueError: a language is given for a tokenizer without languages; the tokenizer does not know the language; or
            the tokenizer has languages, but no target language is given or set.
    """
    sides = (
        ("source_lang", "src_lang", source_lang, tokenizer),
        ("target_lang", "tgt_lang", target_lang, target_tokenizer or tokenizer),
    )
    for option, attribute, code, side in sides:
        if not has_languages(side):
            if code is not None:
                remedy = "leave it out"
                if written := getattr(side, "supported_language_codes", None):  # Marian for many languages
                    remedy += f", and write the target's code, e.g. {written[0]}, before each source"
                raise ValueError(
                    f"{option}={code!r}: the tokenizer {tokenizer_name(side)} has no languages to set; {remedy}"
                )
            continue
        chosen = getattr(side, attribute) if code is None else code
        language_id(side, chosen, option)
        setattr(side, attribute, chosen)
        _make_special(side)


def language_id(tokenizer: PreTrainedTokenizerBase, code: str | None, option: str) -> int:
    """The id of the code of a language.

    Args:
        option: the name of the option in an error message.

    Raises:
        ValueError: the code is None, or the tokenizer does not know it.
    """
    known = language_ids(tokenizer)
    if code in known:
        return known[code]
    if code is None:
        raise ValueError(
            f"{option} is missing: the tokenizer {tokenizer_name(tokenizer)} writes a language code beside each text; "
            f"choose one of its {len(known)} languages, e.g. {', '.join(list(known)[:5])}"
        )
    near = difflib.get_close_matches(code, known, n=3, cutoff=0.4) or list(known)[:5]
    raise ValueError(
        f"{option}={code!r} is none of the {len(known)} languages of the tokenizer {tokenizer_name(tokenizer)}; did "
        f"you mean {' or '.join(near)}?"
    )


def target_language_options(
    tokenizer: PreTrainedTokenizerBase, decoder_start_token_id: int | None, target_lang: str | None = None
) -> dict[str, int]:
    """The options of `model.generate` that make the output begin with the target language.

    Args:
        tokenizer: the tokenizer of the target.
        decoder_start_token_id: the field of the model. If it is a language code, as in mBART, generation starts from
            the code of the target language. Every other model (mBART-50, M2M100, NLLB) must write that code first.
        target_lang: the code of the language; None: the `tgt_lang` of the tokenizer.

    Returns:
        `decoder_start_token_id` or `forced_bos_token_id`; empty if the tokenizer has no languages, or if no target
        language is known.

    Raises:
        ValueError: the tokenizer does not know the language.
    """
    code = target_lang or getattr(tokenizer, "tgt_lang", None)
    if code is None or not has_languages(tokenizer):
        return {}
    starts = decoder_start_token_id is None or decoder_start_token_id in language_ids(tokenizer).values()
    name = "decoder_start_token_id" if starts else "forced_bos_token_id"
    return {name: language_id(tokenizer, code, "tgt_lang")}


def _make_special(tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes the language codes of M2M100's tokenizer special tokens, which they are only if its files say so."""
    missing = [
        token for token in getattr(tokenizer, "lang_token_to_id", ()) if token not in tokenizer.all_special_tokens
    ]
    if missing:
        tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, *missing]})

"""Tokenizers with language codes (mBART, mBART-50, M2M100, NLLB, ...): which languages they are set to.

Such a tokenizer writes the code of a language beside each text: that of `src_lang` beside a source, that of `tgt_lang`
beside a target (`tokenizer(text_target=...)`). The model learns from the target's code which language to write, so
generation must begin with it, too.
"""

import difflib
from typing import Any

from transformers import PreTrainedTokenizerBase


def has_languages(tokenizer: Any) -> bool:
    """Whether the tokenizer writes the code of a language beside each text."""
    return hasattr(tokenizer, "_switch_to_target_mode") and hasattr(tokenizer, "tgt_lang")


def language_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Code → id of every language that the tokenizer knows; empty for a tokenizer without languages."""
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
    """Sets the language of the sources and that of the targets; what is not given stays as the tokenizer has it.

    The tokenizers are changed, and are saved with these languages. The codes of all languages become special tokens,
    where they are not yet, so that decoding can leave them out.

    Args:
        tokenizer: the source's, or the only one.
        target_tokenizer: the target's, where it has one of its own.
        source_lang, target_lang: codes, as the tokenizer names them: `eng_Latn` (NLLB), `en_XX` (mBART), `en`
            (M2M100).

    Raises:
        ValueError: a language is given for a tokenizer that has no languages, or one that it does not know; or the
            tokenizer has languages, but no target language is given, and none is set.
    """
    sides = (
        ("source_lang", "src_lang", source_lang, tokenizer),
        ("target_lang", "tgt_lang", target_lang, target_tokenizer or tokenizer),
    )
    for option, attribute, code, side in sides:
        if not has_languages(side):
            if code is not None:
                remedy = "leave it out"
                if written := getattr(side, "supported_language_codes", None):  # Marian's of many languages
                    remedy += f", and write the target's code, e.g. {written[0]}, before each source"
                raise ValueError(f"{option}={code!r}: the tokenizer {name_of(side)} has no languages to set; {remedy}")
            continue
        chosen = getattr(side, attribute) if code is None else code
        language_id(side, chosen, option)
        setattr(side, attribute, chosen)
        _make_special(side)


def language_id(tokenizer: PreTrainedTokenizerBase, code: str | None, option: str) -> int:
    """The id of a language's code; `option` is what a message calls it.

    Raises:
        ValueError: there is no such language, or no code.
    """
    known = language_ids(tokenizer)
    if code in known:
        return known[code]
    if code is None:
        raise ValueError(
            f"{option} is missing: the tokenizer {name_of(tokenizer)} writes a language's code beside each text; "
            f"choose one of its {len(known)} languages, e.g. {', '.join(list(known)[:5])}"
        )
    near = difflib.get_close_matches(code, known, n=3, cutoff=0.4) or list(known)[:5]
    raise ValueError(
        f"{option}={code!r} is none of the {len(known)} languages of the tokenizer {name_of(tokenizer)}; did you mean "
        f"{' or '.join(near)}?"
    )


def target_language_options(
    tokenizer: PreTrainedTokenizerBase, decoder_start_token_id: int | None, target_lang: str | None = None
) -> dict[str, int]:
    """The options of `model.generate` that make the output begin with the target language.

    Args:
        tokenizer: the target's.
        decoder_start_token_id: the model's. A model that starts from a language's code (mBART) is started from the
            target language's, any other (mBART-50, M2M100, NLLB) must write that code first.
        target_lang: the language's code; None: the tokenizer's `tgt_lang`.

    Returns:
        `forced_bos_token_id` or `decoder_start_token_id`; nothing, for a tokenizer without languages or when no target
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


def name_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a message calls the tokenizer: the place that it comes from, else its class."""
    return tokenizer.name_or_path or type(tokenizer).__name__


def _make_special(tokenizer: PreTrainedTokenizerBase) -> None:
    """M2M100's tokenizer knows its language codes, but not as special tokens unless its directory names them."""
    missing = [
        token for token in getattr(tokenizer, "lang_token_to_id", ()) if token not in tokenizer.all_special_tokens
    ]
    if missing:
        tokenizer.add_special_tokens({"extra_special_tokens": [*tokenizer.extra_special_tokens, *missing]})

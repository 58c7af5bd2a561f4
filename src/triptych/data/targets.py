"""The special tokens that a tokenizer writes around a target, and the end token that it may lack."""

import logging
from collections.abc import Iterable
from typing import Any

from ..configuration.special_tokens import token_id_of, tokenizer_name

logger = logging.getLogger(__name__)


def around_targets(tokenizer: Any, texts: Iterable[str]) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer writes before and after every target.

    Args:
        texts: some targets; the first one that has tokens shows the ids.

    Raises:
        ValueError: no text has tokens.
    """
    for text in texts:
        bare, whole = (
            tokenizer(text_target=text, add_special_tokens=special, verbose=False)["input_ids"]
            for special in (False, True)
        )
        for start in range(len(whole) - len(bare) + 1):
            stop = start + len(bare)
            if bare and whole[start:stop] == bare:
                return whole[:start], whole[stop:]
    raise ValueError(
        f"the tokenizer {tokenizer_name(tokenizer)} has no tokens for any of the first targets; use another tokenizer"
    )


def missing_end(tokenizer: Any, texts: Iterable[str]) -> tuple[int, ...]:
    """The end token, if the tokenizer does not write it after a target; otherwise nothing.

    Args:
        texts: some targets; see `around_targets`.

    Raises:
        ValueError: the tokenizer cannot make labels, because it has no end token, begins each target with it, or
            encodes only sources.
    """
    name = tokenizer_name(tokenizer)
    if hasattr(tokenizer, "tgt_vocab_file") and tokenizer.src_lang != tokenizer.tgt_lang:  # FSMT
        raise ValueError(
            f"the tokenizer {name} encodes only sources; triptych.tokenization.load_tokenizers also gives the "
            "tokenizer of the target"
        )
    if hasattr(tokenizer, "_switch_to_target_mode") and getattr(tokenizer, "tgt_lang", name) is None:
        raise ValueError(f"the tokenizer {name} writes the language of the target into each target; set its tgt_lang")
    end = token_id_of(tokenizer, "eos_token_id")
    if end is None:
        raise ValueError(f"the tokenizer {name} has neither eos_token nor sep_token, so no target would have an end")
    before, after = around_targets(tokenizer, texts)
    if end in before:
        raise ValueError(
            f"the tokenizer {name} begins each target with its end token, so every translation would end at once; "
            "turn that off, e.g. with add_bos_token=False, or give the tokenizer a separate bos_token"
        )
    if end in after:
        return ()
    logger.warning("the tokenizer %s does not end a target: its end token, id %d, is appended", name, end)
    return (end,)

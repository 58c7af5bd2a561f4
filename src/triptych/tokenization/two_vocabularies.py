"""Tokenizers that hold two vocabularies: FSMT's, and Marian's with `separate_vocabs`."""

from typing import Any

from transformers import PreTrainedTokenizerBase


def target_side(tokenizer: Any) -> PreTrainedTokenizerBase | None:
    """A tokenizer for the target's vocabulary alone; None if the tokenizer holds only one vocabulary.

    A tokenizer with two vocabularies encodes with the source's and decodes with the target's. (FSMT's has no
    `text_target`, so it would encode a target with the source's vocabulary.) The result encodes and decodes with the
    target's vocabulary.
    """
    roles = {f"{role}_token" for role in ("unk", "bos", "eos", "sep", "pad")}
    options = {role: getattr(tokenizer, role) for role in roles & tokenizer.init_kwargs.keys()}
    options["model_max_length"] = tokenizer.model_max_length
    if getattr(tokenizer, "separate_vocabs", False):  # Marian
        spm, language = tokenizer.spm_files[1], tokenizer.target_lang
        vocabulary = tokenizer.init_kwargs["target_vocab_file"]
        return type(tokenizer)(spm, spm, vocabulary, source_lang=language, target_lang=language, **options)
    if hasattr(tokenizer, "tgt_vocab_file"):  # FSMT
        return type(tokenizer)(
            langs=[tokenizer.tgt_lang] * 2,
            src_vocab_file=tokenizer.tgt_vocab_file,
            tgt_vocab_file=tokenizer.tgt_vocab_file,
            merges_file=tokenizer.merges_file,
            do_lower_case=tokenizer.do_lower_case,
            **options,
        )
    return None

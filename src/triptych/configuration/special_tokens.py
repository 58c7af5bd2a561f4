"""Which token of a tokenizer has the role of a configuration field, such as `eos_token_id`."""

from typing import Any

# The tokens that can have a role, the first choice first. BERT's tokenizer begins a text with [CLS], ends it with
# [SEP]. T5 and Marian have no token for the beginning, and their decoders start from padding. GPT-2 pads with its end
# token.
TOKEN_ROLES = {
    "pad_token_id": ("pad_token_id", "eos_token_id"),
    "bos_token_id": ("bos_token_id", "cls_token_id"),
    "eos_token_id": ("eos_token_id", "sep_token_id"),
    "decoder_start_token_id": ("bos_token_id", "cls_token_id", "pad_token_id", "eos_token_id"),
}


def token_id_of(tokenizer: Any, role: str) -> int | None:
    """The id of the token that has a role, a key of `TOKEN_ROLES`; None if the tokenizer has no such token."""
    ids = (getattr(tokenizer, name, None) for name in TOKEN_ROLES[role])
    return next((token_id for token_id in ids if token_id is not None), None)


def tokenizer_name(tokenizer: Any) -> str:
    """The name of a tokenizer in a message: the place that it was loaded from, or else its class."""
    return tokenizer.name_or_path or type(tokenizer).__name__

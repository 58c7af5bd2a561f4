"""The special tokens of a model whose vocabulary is replaced: which ids they have in the new one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """What these functions ask of a tokenizer. It may also have `pad_token_id`, `bos_token_id` and the like."""

    def get_vocab(self) -> dict[str, int]:
        """Token → id."""


Vocabulary = Tokenizer | Mapping[str, int]

ROLES = ("pad", "bos", "eos", "unk", "cls", "sep", "mask")
# Where a tokenizer has no token for a role, a token of another role serves for it: BERT begins and ends with [CLS] and
# [SEP], T5 has no first token and starts the decoder with padding, GPT-2 pads with its last token.
IN_PLACE_OF = {"pad_token_id": ("pad", "eos"), "bos_token_id": ("bos", "cls"), "eos_token_id": ("eos", "sep")}
STARTS = ("bos_token_id", "pad_token_id", "eos_token_id")
GENERATED = ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids")


def first(ids: int | Sequence[int] | None) -> int | None:
    """The only id, or the first of several, or None."""
    return (ids[0] if ids else None) if isinstance(ids, Sequence) else ids


def role_token(vocabulary: Any, role: str) -> int | None:
    """The id that a tokenizer gives a role ("pad", "bos", ...). A mapping names none."""
    index: int | None = getattr(vocabulary, f"{role}_token_id", None)
    return index


class NewIds:
    """From the ids of the old vocabulary to those of the new one.

    Args:
        counterpart: old id → new id, of each token that both vocabularies have.
        new: the new tokenizer, or token → id.
    """

    def __init__(self, counterpart: dict[int, int], new: Vocabulary):
        self.counterpart, self.new = counterpart, new

    def of(self, ids: Any) -> Any:
        """The new id of an id, or the new ids of a list without the tokens that are gone; None: there is none."""
        if isinstance(ids, list):
            return [token for token in map(self.of, ids) if token is not None] or None
        return self.counterpart.get(ids)

    def of_sequences(self, ids: list[list[int]]) -> list[list[int]] | None:
        """The new ids of token sequences. A sequence that lost a token is dropped: it would mean something else."""
        whole = [words for words in ids if all(token in self.counterpart for token in words)]
        return [self.of(words) for words in whole] or None

    def of_role(self, name: str, former: Any) -> Any:
        """The new value of `pad_token_id`, `bos_token_id` or `eos_token_id`: the token that the tokenizer names for
        the role, otherwise the counterpart of the former token."""
        named = (role_token(self.new, role) for role in IN_PLACE_OF[name])
        token = next((index for index in named if index is not None), None)
        if isinstance(former, list):
            return list(dict.fromkeys([*([] if token is None else [token]), *(self.of(former) or [])])) or None
        return self.of(former) if token is None else token

    def of_start(self, former: int | None, holder: Any, renamed: dict[str, Any]) -> int | None:
        """The new `decoder_start_token_id`: the token of the same role, the counterpart, or another first token."""
        if former is None:
            return None
        role = next((name for name in IN_PLACE_OF if getattr(holder, name) == former), None)
        found = renamed[role] if role else self.of(former)
        return first(next((renamed[n] for n in STARTS if renamed[n] is not None), None)) if found is None else found


def rename_special_tokens(holder: Any, ids: NewIds) -> None:
    """Gives the special tokens of a configuration, or of a generation configuration, their new ids."""
    renamed = {name: ids.of_role(name, getattr(holder, name)) for name in IN_PLACE_OF}
    if hasattr(holder, "decoder_start_token_id"):
        renamed["decoder_start_token_id"] = ids.of_start(holder.decoder_start_token_id, holder, renamed)
    for name, value in renamed.items():
        setattr(holder, name, value)


def rename_generated_tokens(options: Any, ids: NewIds) -> None:
    """Gives the tokens that a generation configuration forces or forbids their new ids."""
    for name in GENERATED:
        translate: Callable[[Any], Any] = ids.of_sequences if name == "bad_words_ids" else ids.of
        if (former := getattr(options, name, None)) is not None:
            setattr(options, name, translate(former))

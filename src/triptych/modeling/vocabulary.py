"""Another vocabulary for a trained model, which keeps what it knows of the tokens that both have."""

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from .base import TriptychPreTrainedModel
from .joining import first


class Tokenizer(Protocol):
    """What is asked of a tokenizer, which may have `pad_token_id` and the like as well."""

    def get_vocab(self) -> dict[str, int]:
        """Token → id."""


Vocabulary = Tokenizer | Mapping[str, int]

ROLES = ("pad", "bos", "eos", "unk", "cls", "sep", "mask")
# Where a tokenizer lacks a role, another token has it: BERT's begins and ends with [CLS] and [SEP], T5's has no
# beginning and starts the decoder from padding, GPT-2's pads with its end.
IN_PLACE_OF = {"pad_token_id": ("pad", "eos"), "bos_token_id": ("bos", "cls"), "eos_token_id": ("eos", "sep")}
STARTS = ("bos_token_id", "pad_token_id", "eos_token_id")
GENERATED = ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids")


def replace_vocabulary(
    model: TriptychPreTrainedModel, old: Vocabulary, new: Vocabulary, side: str | None = None
) -> Any:
    """A new model that reads (and writes) the tokens of another vocabulary, and knows what both have in common.

    Tokens of both keep their embeddings, rows of the output projection and its bias, so their logits are what they
    were. So do special tokens of one role under two names ([CLS] and <cls>). All others start from the mean of the
    rows. Special tokens in `config` and `generation_config` get the ids that they have in the new vocabulary; None
    where it has no such token.

    Args:
        model: any Triptych model; it stays as it is.
        old, new: the tokenizers, or token → id.
        side: of an encoder–decoder with two vocabularies, the one that is replaced: "source" or "target".

    Raises:
        ValueError: a side is missing, or given where there is only one vocabulary; or the new one has no tokens.
    """
    apart = getattr(model.config, "decoder_vocab_size", None) is not None and len(model.config.embedding_names) > 1
    if side not in (("source", "target") if apart else (None,)):
        remedy = 'two vocabularies; choose side="source" or "target"' if apart else "one vocabulary; leave side out"
        raise ValueError(f"side={side!r}: {type(model).__name__} has {remedy}")
    before, after = ids_of(old), ids_of(new)
    if not after:
        raise ValueError("the new vocabulary has no tokens")
    changed: Any = copy.deepcopy(model)
    formers = [table.detach().clone() for table in tables(changed, side)]
    pairs = same_tokens(old, new, before, after, len(formers[0]))
    resize = changed.resize_decoder_token_embeddings if side == "target" else changed.resize_token_embeddings
    resize(max(len(after), 1 + max(after.values())), mean_resizing=False)

    sources, targets = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(-1)
    with torch.no_grad():
        for former, table in zip(formers, tables(changed, side), strict=True):
            table.copy_(former.mean(dim=0, dtype=torch.float32).expand_as(table))
            table[targets.to(table.device)] = former[sources.to(table.device)]
    if side != "source":  # the tokens that a configuration names are those of the target
        follow(changed, dict(reversed(pairs)), new)
    changed.config.validate()
    return changed


def ids_of(vocabulary: Vocabulary) -> dict[str, int]:
    """Token → id, of a tokenizer or a mapping."""
    return dict(vocabulary if isinstance(vocabulary, Mapping) else vocabulary.get_vocab())


def tables(model: Any, side: str | None) -> list[Tensor]:
    """The parameters with one row for each token, each once."""
    body, head = model.base_model, model.get_output_embeddings()
    names = {"source": ("embed_tokens",), "target": ("decoder_embed_tokens",), None: model.config.embedding_names}
    found = [getattr(body, name).weight for name in names[side]]
    if head is not None and side != "source":
        found += [head.weight, *([] if head.bias is None else [head.bias])]
    return list({id(table): table for table in found}.values())


def same_tokens(
    old: Vocabulary, new: Vocabulary, before: dict[str, int], after: dict[str, int], rows: int
) -> list[tuple[int, int]]:
    """(old id, new id) of each token of both vocabularies, then of special tokens that have one role in both."""
    same = [(before[token], index) for token, index in after.items() if before.get(token, rows) < rows]
    known = {index for _, index in same}
    for role in ROLES:
        source, target = (getattr(vocabulary, f"{role}_token_id", None) for vocabulary in (old, new))
        if source is not None and source < rows and target is not None and target not in known:
            same.append((source, target))
            known.add(target)
    return same


def follow(model: Any, counterpart: dict[int, int], new: Vocabulary) -> None:
    """The special tokens of the configuration and of generation get their new ids.

    Where the tokenizer names a token for a role, it is that one; else the counterpart of the former.
    """
    config, options = model.config, getattr(model, "generation_config", None)

    def translated(ids: Any) -> Any:
        if isinstance(ids, list):
            return [token for token in map(translated, ids) if token is not None] or None
        return counterpart.get(ids)

    def sequences(ids: Any) -> Any:  # of which a part would mean something else
        whole = [words for words in ids if all(token in counterpart for token in words)]
        return [translated(words) for words in whole] or None

    def chosen(name: str, former: Any) -> Any:
        own = (getattr(new, f"{role}_token_id", None) for role in IN_PLACE_OF[name])
        token = next((index for index in own if index is not None), None)
        if isinstance(former, list):
            return list(dict.fromkeys([*([] if token is None else [token]), *(translated(former) or [])])) or None
        return translated(former) if token is None else token

    for holder in (config, options):
        if holder is None:
            continue
        renamed = {name: chosen(name, getattr(holder, name)) for name in IN_PLACE_OF}
        if hasattr(holder, "decoder_start_token_id"):
            start = holder.decoder_start_token_id
            roles = [name for name in IN_PLACE_OF if start is not None and getattr(holder, name) == start]
            found = renamed[roles[0]] if roles else translated(start)
            if found is None and start is not None:
                found = first(next((renamed[name] for name in STARTS if renamed[name] is not None), None))
            renamed["decoder_start_token_id"] = found
        for name, value in renamed.items():
            setattr(holder, name, value)
    for name in GENERATED:
        if (ids := getattr(options, name, None)) is not None:
            setattr(options, name, sequences(ids) if name == "bad_words_ids" else translated(ids))

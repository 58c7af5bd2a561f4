"""Another vocabulary for a trained model, which keeps what it knows of the tokens that both vocabularies have."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..modeling import TriptychPreTrainedModel
from .special_tokens import (
    ROLES,
    NewIds,
    Vocabulary,
    rename_generated_tokens,
    rename_special_tokens,
    role_token,
)


def replace_vocabulary(
    model: TriptychPreTrainedModel, old: Vocabulary, new: Vocabulary, side: str | None = None
) -> Any:
    """A new model that reads and writes the tokens of another vocabulary.

    A token that both vocabularies have keeps its embedding, its row of the output projection and its bias, so that
    its logits stay the same. The same holds for special tokens that have one role under two names ([CLS] and <cls>).
    All other rows start from the mean of the old rows. The special tokens in `config` and `generation_config` get the
    ids that they have in the new vocabulary, or None where it has no such token.

    Args:
        model: any Triptych model. It is not changed.
        old, new: the tokenizers, or token → id.
        side: of an encoder–decoder with two vocabularies, the one to replace: "source" or "target".

    Raises:
        ValueError: `side` is missing, or is given where there is only one vocabulary; or the new vocabulary is empty.
    """
    two = getattr(model.config, "has_two_vocabularies", False)
    if side not in (("source", "target") if two else (None,)):
        remedy = 'two vocabularies; choose side="source" or "target"' if two else "one vocabulary; leave side out"
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
    if side != "source":  # the special tokens of a configuration are those of the target
        ids = NewIds(dict(reversed(pairs)), new)
        options = getattr(changed, "generation_config", None)
        for holder in (changed.config, *([] if options is None else [options])):
            rename_special_tokens(holder, ids)
        rename_generated_tokens(options, ids)
    changed.config.validate()
    return changed


def ids_of(vocabulary: Vocabulary) -> dict[str, int]:
    """Token → id, of a tokenizer or a mapping."""
    return dict(vocabulary if isinstance(vocabulary, Mapping) else vocabulary.get_vocab())


def tables(model: Any, side: str | None) -> list[Tensor]:
    """The parameters that have one row for each token, each parameter once."""
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
        source, target = role_token(old, role), role_token(new, role)
        if source is not None and source < rows and target is not None and target not in known:
            same.append((source, target))
            known.add(target)
    return same

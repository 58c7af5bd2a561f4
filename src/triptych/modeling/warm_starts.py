"""New models from trained ones: two of them as the sides of one, fewer layers, another vocabulary."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoConfig

from ..configuration import TriptychBaseConfig, TriptychConfig, TriptychDecoderConfig, TriptychEncoderConfig
from ..configuration.families import HEADS, own_fields
from .base import TriptychPreTrainedModel
from .decoder import TriptychDecoderForCausalLM
from .encoder import TriptychEncoderModel

# ------------------------------------------------------------------------------------- two models as the sides of one

# What the map to the vocabulary and the tokens that are written have from the decoder; the rest is the encoder's.
FROM_DECODER = (
    "bos_token_id",
    "eos_token_id",
    "head_bias",
    "label_smoothing",
    "logit_scale",
    "tie_word_embeddings",
    "use_cache",
)


def join(model_class: type, encoder: Any, decoder: Any, **fields: Any) -> Any:
    """See `TriptychModel.from_encoder_decoder`."""
    encoder = opened(encoder, TriptychEncoderConfig, TriptychEncoderModel, add_pooling_layer=False)
    decoder = opened(decoder, TriptychDecoderConfig, TriptychDecoderForCausalLM)
    model = model_class(joint_config(encoder.config, decoder.config, **fields))
    model.to(torch.promote_types(encoder.dtype, decoder.dtype))

    taken = side_weights(encoder.base_model, "encoder.", "embed_tokens.")
    taken |= side_weights(decoder.base_model, "decoder.", "decoder_embed_tokens.")
    if model is not model.base_model:
        taken = {f"{model.base_model_prefix}.{name}": tensor for name, tensor in taken.items()}
        taken |= {n: t for n, t in decoder.state_dict().items() if n.startswith("lm_head.")}
    missing, unexpected = model.load_state_dict(taken, strict=False)
    lost = [name for name in missing if "cross_attention" not in name and not name.startswith("lm_head.")]
    if lost or unexpected:
        raise ValueError(f"the two sides do not make this model: without weights {lost}, without place {unexpected}")
    model.tie_weights()
    if model.can_generate():
        take_generation_config(model, decoder)
    return model.to(decoder.device).eval()


def opened(source: Any, config_class: type[TriptychBaseConfig], model_class: type, **options: Any) -> Any:
    """A model of one family: as given, or read from a directory or repository.

    Raises:
        ValueError: something else.
    """
    is_name = isinstance(source, (str, Path))
    config = AutoConfig.from_pretrained(source) if is_name else getattr(source, "config", None)
    if not isinstance(config, config_class):
        raise ValueError(
            f"expected a Triptych model with a {config_class.__name__}, got {source if is_name else type(source)}; "
            "triptych.from_hf makes one from a public checkpoint"
        )
    return model_class.from_pretrained(source, dtype="auto", **options) if is_name else source  # type: ignore


def joint_config(encoder: TriptychBaseConfig, decoder: TriptychBaseConfig, **fields: Any) -> TriptychConfig:
    """The encoder's configuration, the decoder's in `decoder_overrides` where they differ.

    Raises:
        ValueError: widths differ, so that neither side could read the other; or the decoder has segments.
    """
    if encoder.hidden_size != decoder.hidden_size:
        raise ValueError(
            f"the encoder has hidden_size={encoder.hidden_size}, the decoder {decoder.hidden_size}; both have to "
            "be of one width, so choose other models"
        )
    if decoder.type_vocab_size:
        raise ValueError(
            f"the decoder has type_vocab_size={decoder.type_vocab_size}, and the decoder of an encoder–decoder has no "
            "segment embeddings"
        )
    differing = {n for n in own_fields() if getattr(encoder, n) != getattr(decoder, n)}
    if differing & {"num_attention_heads", *HEADS}:
        differing |= {"num_attention_heads", *HEADS}  # else those not named would be derived anew
    pads = [decoder.pad_token_id, encoder.pad_token_id, first(decoder.eos_token_id)]
    rows = min(encoder.vocab_size, decoder.vocab_size)
    start = (decoder.bos_token_id, first(decoder.eos_token_id), decoder.pad_token_id)
    same_kernel = encoder._attn_implementation == decoder._attn_implementation
    given = {
        **{name: getattr(encoder, name) for name in (*own_fields(), "hidden_size", "type_vocab_size", "vocab_size")},
        **{name: getattr(decoder, name) for name in FROM_DECODER},
        "encoder_layers": encoder.num_hidden_layers,
        "decoder_layers": decoder.num_hidden_layers,
        "decoder_vocab_size": decoder.vocab_size,
        "share_encoder_decoder_embeddings": False,
        "decoder_overrides": {name: getattr(decoder, name) for name in sorted(differing)} or None,
        "pad_token_id": first([pad for pad in pads if pad is not None and pad < rows]),
        "decoder_start_token_id": first([token for token in start if token is not None]),
        "attn_implementation": encoder._attn_implementation if same_kernel else None,
    }
    config = TriptychConfig(**copy.deepcopy({**given, **fields}))
    if config.tie_word_embeddings and not decoder.tie_word_embeddings:
        raise ValueError("tie_word_embeddings=True would lose the decoder's own map to the vocabulary; leave it out")
    return config


def first(ids: int | Sequence[int] | None) -> int | None:
    """The only id, or the first of several, or None."""
    return (ids[0] if ids else None) if isinstance(ids, Sequence) else ids


def side_weights(body: TriptychPreTrainedModel, stack: str, embedding: str) -> dict[str, Tensor]:
    """The weights of a stack, by the names that they have in the encoder–decoder."""
    state = {name: tensor for name, tensor in body.state_dict().items() if not name.startswith("pooler.")}
    own = "embed_tokens."
    return {embedding + n.removeprefix(own) if n.startswith(own) else stack + n: t for n, t in state.items()}


def take_generation_config(model: Any, decoder: Any) -> None:
    """The decoder's options of generation, with the start and the padding of the new model's outputs."""
    if decoder.can_generate():
        model.generation_config = copy.deepcopy(decoder.generation_config)
    options, config = model.generation_config, model.config
    for name in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
        setattr(options, name, getattr(config, name))
    # The model pads as the sources do, outputs are padded with a token of the target, which may not be in both.
    pads = [decoder.config.pad_token_id, first(config.eos_token_id), config.pad_token_id]
    options.pad_token_id = next((pad for pad in pads if pad is not None), None)
    options._from_model_config = False


# -------------------------------------------------------------------------------------------------------- fewer layers


def keep_layers(
    model: TriptychPreTrainedModel,
    layers: Iterable[int] | None = None,
    *,
    encoder_layers: Iterable[int] | None = None,
    decoder_layers: Iterable[int] | None = None,
) -> Any:
    """A new model of some of the layers, with their weights: a student to be distilled (Sanh et al. 2019, section 3).

        student = triptych.keep_layers(teacher, range(0, 12, 2))    # DistilBERT: every second layer

    Args:
        model: any Triptych model; it stays as it is.
        layers: the layers of an encoder or a decoder that are kept, counted from 0, in their new order.
        encoder_layers, decoder_layers: those of an encoder–decoder; None: all.

    Raises:
        ValueError: no layers, one that is not there or is named twice, or the argument of another family.
    """
    config = copy.deepcopy(model.config)
    two_sided = isinstance(config, TriptychConfig)
    asked = {"encoder.": encoder_layers, "decoder.": decoder_layers} if two_sided else {"": layers}
    names = {"": "layers", "encoder.": "encoder_layers", "decoder.": "decoder_layers"}
    foreign = (layers,) if two_sided else (encoder_layers, decoder_layers)
    if any(given is not None for given in foreign) or all(wanted is None for wanted in asked.values()):
        raise ValueError(
            f"{type(model).__name__}: give {' or '.join(names[stack] for stack in asked)}, the layers to be kept"
        )
    kept = {
        stack: chosen_layers(names[stack], wanted, config.stack_config(stack), number_of_layers(config, stack))
        for stack, wanted in asked.items()
    }
    patterns = {
        stack: kept_pattern(config.stack_config(stack).attention_pattern, chosen) for stack, chosen in kept.items()
    }
    config.attention_pattern = next(iter(patterns.values()))
    if isinstance(config, TriptychConfig):
        config.encoder_layers, config.decoder_layers = (len(chosen) for chosen in kept.values())
        others = {n: v for n, v in (config.decoder_overrides or {}).items() if n != "attention_pattern"}
        if patterns["decoder."] != patterns["encoder."]:
            others["attention_pattern"] = patterns["decoder."]
        config.decoder_overrides = others or None
    else:
        config.num_hidden_layers = len(kept[""])

    without_pooler = isinstance(model, TriptychEncoderModel) and model.pooler is None
    smaller: Any = type(model)(config, **({"add_pooling_layer": False} if without_pooler else {}))
    smaller.to(model.dtype).load_state_dict(renumbered(model.state_dict(), kept))
    if model.can_generate():
        smaller.generation_config = copy.deepcopy(model.generation_config)
    return smaller.to(model.device).train(model.training)


def number_of_layers(config: Any, stack: str) -> int:
    count: int = config.decoder_layers if stack == "decoder." else config.num_hidden_layers
    return count


def chosen_layers(name: str, wanted: Iterable[int] | None, config: Any, count: int) -> list[int]:
    """The layers that are kept, all of them unless some are named; raises ValueError where they are none."""
    chosen = list(range(count) if wanted is None else wanted)
    if not chosen:
        raise ValueError(f"{name} is empty; keep at least one layer")
    if outside := [i for i in chosen if not 0 <= i < count]:
        raise ValueError(f"{name} names {outside[0]}, but there are the layers 0 to {count - 1}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{name}={chosen} names a layer twice")
    return chosen


def kept_pattern(pattern: list[Any] | None, chosen: list[int]) -> list[Any] | None:
    """The attention pattern with which each of the chosen layers keeps its own kind, as short as it can be."""
    if pattern is None:
        return None
    kinds = [pattern[i % len(pattern)] for i in chosen]
    if set(kinds) == {"full"}:
        return None
    repeats = (n for n in range(1, len(kinds) + 1) if all(kind == kinds[i % n] for i, kind in enumerate(kinds)))
    return kinds[: next(repeats)]


def renumbered(state: dict[str, Tensor], kept: dict[str, list[int]]) -> dict[str, Tensor]:
    """The tensors of a smaller model: those of other layers are left out, those of the kept ones count from 0."""
    place = {(stack, str(old)): new for stack, chosen in kept.items() for new, old in enumerate(chosen)}
    layer = re.compile(r"(?P<head>model\.)?(?P<stack>encoder\.|decoder\.)?layers\.(?P<index>\d+)\.(?P<rest>.+)")
    found = {}
    for name, tensor in state.items():
        match = layer.fullmatch(name)
        if match is None:
            found[name] = tensor
        elif (new := place.get((match["stack"] or "", match["index"]))) is not None:
            found[f"{match['head'] or ''}{match['stack'] or ''}layers.{new}.{match['rest']}"] = tensor
    return found


# -------------------------------------------------------------------------------------------------- another vocabulary


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

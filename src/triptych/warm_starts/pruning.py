"""A new model of some of the layers of a trained one."""

import copy
import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ..configuration import TriptychConfig
from ..configuration.patterns import shortest_pattern
from ..modeling import TriptychEncoderModel, TriptychPreTrainedModel
from ..modeling.generation_options import take_generation_config
from ..modeling.precision import take_dtypes


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
        model: any Triptych model. It is not changed.
        layers: the layers of an encoder or a decoder to keep, counted from 0, in their new order.
        encoder_layers, decoder_layers: the layers of an encoder–decoder to keep; None: all.

    Raises:
        ValueError: there are no layers to keep, a layer does not exist or is named twice, or the argument belongs to
            another family.
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
    weights = renumbered(model.state_dict(), kept)
    smaller.to(model.dtype).load_state_dict(weights)
    take_dtypes(smaller, weights)
    take_generation_config(smaller, getattr(model, "generation_config", None))
    return smaller.to(model.device).train(model.training)


def number_of_layers(config: Any, stack: str) -> int:
    """How many layers a stack of the model has."""
    count: int = config.decoder_layers if stack == "decoder." else config.num_hidden_layers
    return count


def chosen_layers(name: str, wanted: Iterable[int] | None, config: Any, count: int) -> list[int]:
    """The layers to keep: the wanted ones, or all where none are named.

    Raises:
        ValueError: there are no layers to keep, or a layer does not exist or is named twice.
    """
    chosen = list(range(count) if wanted is None else wanted)
    if not chosen:
        raise ValueError(f"{name} is empty; keep at least one layer")
    if outside := [i for i in chosen if not 0 <= i < count]:
        raise ValueError(f"{name} names {outside[0]}, but there are the layers 0 to {count - 1}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{name}={chosen} names a layer twice")
    return chosen


def kept_pattern(pattern: list[Any] | None, chosen: list[int]) -> list[Any] | None:
    """The shortest attention pattern with which each of the chosen layers keeps its kind of attention."""
    return None if pattern is None else shortest_pattern([pattern[i % len(pattern)] for i in chosen])


def renumbered(state: dict[str, Tensor], kept: dict[str, list[int]]) -> dict[str, Tensor]:
    """The tensors of the smaller model: without those of dropped layers, and with the kept layers counted from 0."""
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

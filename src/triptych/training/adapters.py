"""Training a part of the weights: frozen parameters, and low-rank adapters (LoRA, Hu et al. 2021) by peft."""

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

WAY = "pip install peft"


def check_peft() -> None:
    """Raises ValueError if peft, which makes the adapters, is not installed."""
    if find_spec("peft") is None:
        raise ValueError(f"--lora_rank needs peft, which is not installed; {WAY}")


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Excludes parameters from the training.

    Args:
        patterns: names of parameters, in which `*` stands for any text.

    Raises:
        ValueError: a pattern fits no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        found = [parameter for name, parameter in parameters.items() if fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(
                f"--freeze {pattern} fits no parameter; their names are like {', '.join([*parameters][:3])}"
            )
        for parameter in found:
            parameter.requires_grad = False
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError(f"--freeze {' '.join(patterns)} leaves nothing to train")


def add_adapters(
    model: PreTrainedModel, rank: int, alpha: int | None, dropout: float, new_tensors: Sequence[str]
) -> None:
    """Puts low-rank adapters beside the maps that peft chooses by default for this family; all else is frozen.

    A new head is trained, too; and any head that gives no logits over the vocabulary.

    Args:
        alpha: the factor of the adapters is alpha / rank; None: twice the rank.
        new_tensors: the names of the weights that a checkpoint did not give.

    Raises:
        ValueError: the rank is not below that of the maps, so nothing is low about it.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    names = [name for name, _ in model.named_parameters()]
    body = f"{model.base_model_prefix}."
    is_head = model.get_output_embeddings() is None
    trained = {name for name in names if name in new_tensors or (is_head and not name.startswith(body))}
    config = LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, lora_dropout=dropout)
    LoraModel(model, config, "default")  # changes the model in place, and freezes all but the adapters
    check_rank(model, rank)
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.requires_grad = True


def check_rank(model: nn.Module, rank: int) -> None:
    """Raises ValueError unless the rank of the adapters is below the greatest that the maps beside them can have."""
    sizes = {name: (layer.in_features, layer.out_features) for name, layer in adapter_layers(model).items()}
    name, (inputs, outputs) = min(sizes.items(), key=lambda item: min(item[1]))
    if rank >= min(inputs, outputs):
        raise ValueError(
            f"--lora_rank {rank}: an adapter beside {name}, which maps {inputs} numbers to {outputs}, saves something "
            f"with a rank below {min(inputs, outputs)} only; 8 or 16 is usual. Give a smaller one, or leave out "
            "--lora_rank to train all weights"
        )


def adapter_layers(model: nn.Module) -> dict[str, Any]:
    """Returns name → layer of the maps that have an adapter; none where there are no adapters."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def merged_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the tensors of the same model without adapters: W + (alpha / rank) B A stands where W stood."""
    layers, merged = adapter_layers(model), {}
    for key, tensor in model.state_dict().items():
        name, is_inside, kind = key.partition(".base_layer.")
        if is_inside:
            whole = tensor + layers[name].get_delta_weight("default") if kind == "weight" else tensor
            merged[f"{name}.{kind}"] = whole.detach()
        elif not is_of_adapter(key):
            merged[key] = tensor.detach()
    return merged


def is_of_adapter(key: str) -> bool:
    """Says whether a tensor of this name belongs to an adapter."""
    return ".lora_A." in key or ".lora_B." in key


def load_merged_state(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Makes a model with adapters compute what these tensors say: they replace W, and B becomes zero.

    Raises:
        RuntimeError: the tensors are those of another model.
    """
    layers = adapter_layers(model)
    for layer in layers.values():
        nn.init.zeros_(layer.lora_B["default"].weight)
    tensors = {key: tensor for key, tensor in model.state_dict().items() if is_of_adapter(key)}
    for key, tensor in state.items():
        name, _, kind = key.rpartition(".")
        tensors[f"{name}.base_layer.{kind}" if name in layers else key] = tensor
    model.load_state_dict(tensors)


def fingerprint_of_frozen(model: nn.Module) -> str:
    """Returns a word that stands for the values of all frozen parameters."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if not parameter.requires_grad:
            digest.update(name.encode() + parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]

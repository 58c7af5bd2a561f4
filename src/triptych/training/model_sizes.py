"""The sizes of a model in words, for the summary of a run and for the card of its model."""

from typing import Any

from ..data.quantities import counted


def parameters(model: Any) -> str:
    """Returns the number of parameters, those of adapters apart, and of those that are trained, where some are not.

    What a run writes has the adapters merged, so it has the first number of parameters.
    """
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapters = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    beside = f" and {adapters:,} of adapters" if adapters else ""
    return counted(total - adapters, "parameters") + beside + f" ({trained:,} of them trained)" * (trained != total)


def vocabulary(config: Any) -> str:
    """Returns the size of the vocabulary, or of both."""
    sizes = [config.vocab_size, getattr(config, "decoder_vocab_size", None)]
    return " + ".join(f"{size:,}" for size in sizes if size is not None)


def layers(config: Any) -> str:
    """Returns the number of layers, of the encoder and of the decoder where there are both."""
    both = hasattr(config, "encoder_layers") and hasattr(config, "decoder_layers")
    return f"{config.encoder_layers}+{config.decoder_layers}" if both else str(config.num_hidden_layers)

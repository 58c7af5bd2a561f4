"""The sizes of a model in words, for the summary of a run and for the card of its model."""

from typing import Any

from ..data.quantities import counted


def parameters(model: Any) -> str:
    """Returns the number of parameters, and of those that are trained, where some are not."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    return counted(total, "parameters") + ("" if trained == total else f" ({trained:,} of them trained)")


def vocabulary(config: Any) -> str:
    """Returns the size of the vocabulary, or of both."""
    sizes = [config.vocab_size, getattr(config, "decoder_vocab_size", None)]
    return " + ".join(f"{size:,}" for size in sizes if size is not None)


def layers(config: Any) -> str:
    """Returns the number of layers, of the encoder and of the decoder where there are both."""
    both = hasattr(config, "encoder_layers") and hasattr(config, "decoder_layers")
    return f"{config.encoder_layers}+{config.decoder_layers}" if both else str(config.num_hidden_layers)

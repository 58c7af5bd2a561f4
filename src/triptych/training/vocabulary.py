"""The vocabulary of a checkpoint that is trained further: its own with added tokens, or another one."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..tokenization import special_token_config
from ..tokenization.completion import PADDING
from ..warm_starts import replace_vocabulary

Tokenizers = tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase | None]  # of the source, and of the target


def complete_for_batches(tokenizer: PreTrainedTokenizerBase) -> None:
    """Gives a tokenizer a padding token, if it has none: its end token (GPT-2, Llama), or else a new token `<pad>`.

    It is changed, and saved with this. What is padded is masked, so no text loses its end.
    """
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is not None:
            tokenizer.pad_token = tokenizer.eos_token
        else:
            tokenizer.add_special_tokens({"pad_token": PADDING})


def fit_vocabulary(
    model: PreTrainedModel, family: str, tokenizers: Tokenizers, former: Tokenizers | None = None
) -> PreTrainedModel:
    """Returns the model with a vocabulary that holds every token of its tokenizers.

    Args:
        family: a key of `triptych.tokenization.FAMILIES`.
        tokenizers: the tokenizers with which the model is trained.
        former: the tokenizers with which the checkpoint was trained, if they are others. Tokens that both have keep
            their rows. None: the tokenizers are the checkpoint's own; rows are added for the tokens that were added.

    Raises:
        ValueError: the checkpoint has one vocabulary and the tokenizers two, or the other way round.
    """
    decided = special_token_config(*tokenizers, family=family)
    two = getattr(model.config, "has_two_vocabularies", False)
    if two != (tokenizers[1] is not None):
        numbers = ("one vocabulary", "two vocabularies")
        raise ValueError(f"the model has {numbers[two]}, but the tokenizer has {numbers[not two]}; give another one")
    if former is not None:
        model = replaced(model, former, tokenizers)
    add_rows(model, decided)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
        for holder in (model.config, getattr(model, "generation_config", None)):
            if holder is not None and name in decided and getattr(holder, name, None) is None:
                setattr(holder, name, decided[name])
    return model


def replaced(model: Any, former: Tokenizers, tokenizers: Tokenizers) -> Any:
    """Returns the model with the vocabularies of other tokenizers; see `replace_vocabulary`."""
    source, target = tokenizers
    if target is None:
        return replace_vocabulary(model, former[0], source)
    model = replace_vocabulary(model, former[0], source, side="source")
    return replace_vocabulary(model, former[1] or former[0], target, side="target")


def add_rows(model: Any, decided: dict[str, Any]) -> None:
    """Adds rows for tokens beyond the embeddings; they start from the mean of the others."""
    resizes = {"vocab_size": "resize_token_embeddings", "decoder_vocab_size": "resize_decoder_token_embeddings"}
    for name, resize in resizes.items():
        size = decided.get(name)
        if size is not None and size > getattr(model.config, name):
            getattr(model, resize)(size)

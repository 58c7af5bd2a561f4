"""The names of the tokens, which other programs keep in the order of the rows of the embeddings."""

from typing import Any

from transformers import PreTrainedTokenizerBase


def names_of_rows(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """One name for each row of the embeddings; rows that no token uses get a name that no token has.

    Raises:
        ValueError: a token of the tokenizer has no row.
    """
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    if names and max(names) >= size:
        raise ValueError(f"the token {names[max(names)]!r} has the id {max(names)}, but the model has {size} tokens")
    return [names.get(number, f"<no token {number}>") for number in range(size)]


def first(number: int | list[int] | None) -> int | None:
    """A special token; of several the first one, because the formats hold one."""
    return number[0] if isinstance(number, list) else number


def first_end(config: Any) -> int | None:
    """The token that ends a text."""
    return first(config.eos_token_id)


def about_ends(config: Any) -> list[str]:
    """A line for the user if a format cannot hold all tokens that end a text."""
    ends = config.eos_token_id
    if not isinstance(ends, list) or len(ends) < 2:
        return []
    return [f"only the token {ends[0]} ends a text there; give the others when you generate: {ends[1:]}"]

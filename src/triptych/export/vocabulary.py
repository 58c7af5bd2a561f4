"""The names of the tokens, which other programs keep in the order of the rows of the embeddings."""

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

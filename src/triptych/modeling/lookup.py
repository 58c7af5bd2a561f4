"""Reading rows of an embedding table, with an error that names the input and the remedy."""

from torch import Tensor, nn


def lookup(table: nn.Embedding, ids: Tensor, name: str, size: str) -> Tensor:
    """table[ids]: (…) → (…, d). The error for an id without a row is raised on the CPU; accelerators report their own.

    Args:
        name: what the ids are called in the error.
        size: the field of the configuration that gives the number of rows.

    Raises:
        IndexError: an id lies outside the table.
    """
    try:
        return table(ids)
    except IndexError as error:
        rows = table.num_embeddings
        raise IndexError(
            f"{name} must lie in [0, {rows}), got values from {ids.min().item()} to {ids.max().item()}; "
            f"check that the tokenizer fits the model, shorten the input, or enlarge {size}"
        ) from error

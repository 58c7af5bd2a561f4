"""Reading rows of an embedding table, and which input there is to read, with errors that name input and remedy."""

from torch import Tensor, nn


def given(**inputs: Tensor | None) -> Tensor:
    """The one of two inputs that is given, such as `input_ids` (B, T) or `inputs_embeds` (B, T, d).

    Raises:
        ValueError: both are given, or neither.
    """
    found = [value for value in inputs.values() if value is not None]
    if len(found) != 1:
        raise ValueError(f"give exactly one of {' and '.join(inputs)}")
    return found[0]


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

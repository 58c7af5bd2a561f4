"""Which of two inputs is given, and its rows of an embedding table. The errors name the input and the remedy."""

from torch import Tensor, nn


def given(**inputs: Tensor | None) -> Tensor:
    """The only input that is given, for example `input_ids` (B, T) or `inputs_embeds` (B, T, d).

    Raises:
        ValueError: not exactly one input is given.
    """
    found = [value for value in inputs.values() if value is not None]
    if len(found) != 1:
        raise ValueError(f"give exactly one of {' and '.join(inputs)}")
    return found[0]


def lookup(table: nn.Embedding, ids: Tensor, name: str, size: str) -> Tensor:
    """table[ids]: (…) → (…, d). On the CPU, an id without a row raises this error. Accelerators raise other errors.

    Args:
        name: the name of the ids in the error.
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

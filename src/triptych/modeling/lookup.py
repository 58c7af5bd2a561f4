"""Reading a row of an embedding table, with an error that a person understands."""

from torch import Tensor, nn


def lookup(table: nn.Embedding, ids: Tensor, name: str, size: str) -> Tensor:
    """table[ids]: ids.shape + (d,). On the CPU an id without a row is named; an accelerator reports it by itself.

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

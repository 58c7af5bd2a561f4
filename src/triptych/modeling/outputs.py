"""How a head returns what the model inside it has recorded."""

from typing import Any, TypeVar

Output = TypeVar("Output")


def with_recorded(output_class: type[Output], inner: Any, **values: Any) -> Output:
    """A head's output: the values that the head computed, and what its body recorded under the names of both.

    These are the cache, the hidden states, the attention weights and, of an encoder–decoder, the encoder's last hidden
    state.

    Args:
        output_class: transformers' class of the head's outputs.
        inner: the outputs of the body.
        values: the loss, the logits and whatever else the head computed.
    """
    names: Any = output_class.__match_args__  # type: ignore[attr-defined] # of the fields; a compiler reads these alone
    return output_class(**values, **{name: inner.get(name) for name in names if name not in values})

"""The outputs of a head, which include what its body has recorded."""

from typing import Any, TypeVar

Output = TypeVar("Output")


def with_recorded(output_class: type[Output], inner: Any, **values: Any) -> Output:
    """The output of a head: the values that the head computed, and those that its body recorded.

    The body records the cache, the hidden states, the attention weights and, in an encoder–decoder, the encoder's last
    hidden state.

    Args:
        output_class: transformers' class of the head's outputs.
        inner: the outputs of the body.
        values: the loss, the logits and whatever else the head computed.
    """
    names: Any = output_class.__match_args__  # type: ignore[attr-defined] # the fields, in a form a compiler can read
    return output_class(**values, **{name: inner.get(name) for name in names if name not in values})

"""Pipelines whose input is a dict with the same fields each time."""

from collections.abc import Iterable, Mapping, Sized
from typing import Any, ClassVar

from .base import TaskPipeline
from .outputs import Outputs


class FieldsPipeline(TaskPipeline):
    """A pipeline that is called with a dict, with the fields by name, or with a list or an iterator of dicts.

    A list gives a list of outputs, and an iterator gives an iterator.

    Attributes:
        fields: the names of the fields → what each is: `text`, or `texts` for a list of at least one.
    """

    fields: ClassVar[dict[str, str]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: takes the fields by name, and checks them.

        Raises:
            TypeError: the input has not the fields of the task, or a field is of another kind.
            ValueError: a field has nothing in it.
        """
        named = {name: kwargs.pop(name) for name in self.fields if name in kwargs}
        if (named and args) or len(args) > 1 or not (named or args):
            raise TypeError(f"give one argument, or the fields {', '.join(f'{name}=' for name in self.fields)}")
        inputs = named or args[0]
        if isinstance(inputs, Mapping):
            return super().__call__(self.checked(inputs), **kwargs)
        if isinstance(inputs, list | tuple):
            return list(super().__call__([self.checked(each) for each in inputs], **kwargs)) if inputs else []
        if isinstance(inputs, str) or not isinstance(inputs, Iterable):
            raise TypeError(f"the {self.task} pipeline takes dicts with {self._named()}, not {inputs!r:.60}")
        length = len(inputs) if isinstance(inputs, Sized) else None
        return Outputs(super().__call__((self.checked(each) for each in inputs), **kwargs), length)

    def _named(self) -> str:
        return " and ".join(f"`{name}` ({kind})" for name, kind in self.fields.items())

    def checked(self, inputs: Any) -> dict[str, Any]:
        """The fields of one input.

        Raises:
            TypeError: a field is missing, or of another kind; or there is one that the task does not have.
            ValueError: a field has nothing in it.
        """
        if not isinstance(inputs, Mapping) or inputs.keys() != self.fields.keys():
            raise TypeError(f"the {self.task} pipeline takes a dict with {self._named()}, not {inputs!r:.60}")
        fields = {}
        for name, kind in self.fields.items():
            value = inputs[name]
            is_list = isinstance(value, list | tuple)
            texts: list[Any] = [value] if kind == "text" else list(value) if is_list else [None]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(f"`{name}` is a {'list of texts' if kind == 'texts' else 'text'}, not {value!r:.60}")
            if not texts or not all(text.strip() for text in texts):
                raise ValueError(f"`{name}` is blank, or has a blank text in it: {value!r:.60}")
            fields[name] = value if kind == "text" else texts
        return fields


def check_count(name: str, value: int | None) -> None:
    """Raises ValueError if a number that was given is less than 1."""
    if value is not None and value < 1:
        raise ValueError(f"{name}={value} must be at least 1")

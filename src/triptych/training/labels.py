"""The names of labels and their numbers, as the data and a checkpoint have them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig

from ..data.arrow import CHUNK, values_of
from ..data.formats.kinds import WHOLE

if TYPE_CHECKING:
    from datasets import Dataset

SHOWN = 10  # the number of names that a message shows


def names_in(rows: "Dataset", column: str) -> list[str]:
    """The names that occur in a column of names, or of lists of names, in order: whole numbers by their size."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: set[str] = set()
    for table in rows.with_format("arrow").iter(batch_size=CHUNK):
        values = table[column]
        is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        found.update(pc.unique(pc.list_flatten(values) if is_list else values).to_pylist())
    if not all(map(WHOLE.fullmatch, found)):
        return sorted(found)
    return sorted(found, key=lambda name: (int(name), name))  # 1 and 01 are two names of one size


def checkpoint_names(config: PreTrainedConfig | None) -> list[str]:
    """The names of the labels of a checkpoint, by their numbers; none without a checkpoint.

    Raises:
        ValueError: a number is missing.
    """
    names: Mapping[int, str] = getattr(config, "id2label", None) or {}
    if sorted(names) != list(range(len(names))):
        numbers = ", ".join(map(str, sorted(names)))
        raise ValueError(
            f"{getattr(config, 'name_or_path', '')}/config.json: id2label has the numbers {numbers:.60}, and not "
            "those from 0 on; complete it, or remove id2label and label2id"
        )
    return [str(names[number]) for number in range(len(names))]


def numbered_names(names: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """The names of all labels by their numbers, which are those of a checkpoint where its labels fit.

    They fit if every name is one of the checkpoint's, perhaps in other letters (`POSITIVE`); or if the names are the
    numbers of its labels. Labels of the checkpoint that the data do not have stay. Where they do not fit, the names
    are numbered in their order.

    Args:
        names: those of the training data.
        known: those of the checkpoint.
    """
    folded = {name.casefold(): name for name in names}
    if known and folded.keys() <= {name.casefold() for name in known} and len(folded) == len(names):
        return [folded.get(name.casefold(), name) for name in known]
    if set(names) <= {str(number) for number in range(len(known))}:  # 01 is a name, and no number
        plain = all(name == f"LABEL_{number}" for number, name in enumerate(known))
        return [str(number) for number in range(len(known))] if plain else list(known)
    return list(names)


class Labels:
    """The labels of a task.

    Args:
        found: the names in the training data.
        known: the names of the labels of a checkpoint, by their numbers; see `numbered_names`.
        least: how many must be found.

    Attributes:
        names: the name of each label, by its number.
        numbers: what the data call a label → its number.

    Raises:
        ValueError: fewer labels are found, so there is nothing to learn.
    """

    def __init__(self, found: Sequence[str], known: Sequence[str] = (), least: int = 2) -> None:
        if len(found) < least:
            only = f"only the label {found[0]!r}" if found else "no label"
            raise ValueError(
                f"the training data have {only}, and at least {least} are needed; name the right column, or add rows "
                "with other labels"
            )
        self.names = numbered_names(found, known)
        self.numbers = {name: number for number, name in enumerate(self.names)}
        if not set(found) <= self.numbers.keys():  # the data call the labels of the checkpoint by their numbers
            self.numbers = {str(number): number for number in range(len(self.names))}

    def name_of(self, called: str) -> str:
        """The name of a label that the data call so."""
        return self.names[self.numbers[called]]

    def fields(self) -> dict[str, Any]:
        """The fields of a configuration that hold the names."""
        return {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: number for number, name in enumerate(self.names)},
        }

    def check(self, split: str, rows: "Dataset", column: str) -> None:
        """Checks that all labels of a split are known.

        Raises:
            ValueError: one is not; the message names the row, counted from 1.
        """
        unknown = set(names_in(rows, column)) - self.numbers.keys()
        if not unknown:
            return
        for row, values in enumerate(values_of(rows, column), start=1):
            strange = unknown & ({values} if isinstance(values, str) else set(values))
            if strange:
                raise ValueError(
                    f"{split} data: row {row}: the label {min(strange)!r} is not among those of the training data: "
                    f"{shown(self.numbers)}. Correct it, or add rows with this label to the training data"
                )


def shown(names: Iterable[str]) -> str:
    """The first few names, for a message."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f", … ({len(names)} labels)" if len(names) > SHOWN else "")

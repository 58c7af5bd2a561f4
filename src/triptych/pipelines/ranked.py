"""What the pipelines share that rank several answers to an input, and return the best ones."""

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from .base import check_head
from .fields import FieldsPipeline, check_count
from .options import given_options


class RankedPipeline(FieldsPipeline):
    """A pipeline with the options `top_k` and `truncation`, whose outputs have a `score`.

    Attributes:
        heads: parts of the names of the classes whose models can do the task.
    """

    heads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig, names: Sequence[str]) -> None:
        """Extends `TaskPipeline.check_config`: raises ValueError if the model has another head."""
        check_head(task, names, *cls.heads)

    def _sanitize_parameters(
        self, *, top_k: int | None = None, truncation: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        check_count("top_k", top_k)
        return given_options({"truncation": truncation}), {}, given_options({"top_k": top_k})


def best(found: list[dict[str, Any]], top_k: int | None) -> Any:
    """The answer with the greatest score; with `top_k`, a list of so many, the best first."""
    ranked = sorted(found, key=lambda answer: -answer["score"])
    return ranked[0] if top_k is None else ranked[:top_k]

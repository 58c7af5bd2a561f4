"""What the pipelines of this package share, and what a class tells `triptych.pipeline` before a model is loaded."""

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedConfig
from transformers.pipelines import Pipeline


class TaskPipeline(Pipeline):
    """A pipeline of this package.

    Attributes:
        takes_target_tokenizer: whether the class takes a tokenizer for its outputs, as `target_tokenizer=`.
        reads_files: whether the class reads more files beside a model that is given by name. It takes the options that
            say which, as `files=`. A public checkpoint is then not converted: the result would have no place.
    """

    takes_target_tokenizer: ClassVar[bool] = False
    reads_files: ClassVar[bool] = False

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(self, *args: Any, framework: str | None = None, **kwargs: Any) -> None:
        """
        Args:
            framework: "pt", the only one left of those that version 4 of transformers had.
        """
        if framework not in (None, "pt"):
            raise ValueError(f"framework={framework!r}: transformers has models of PyTorch (pt) only; leave it out")
        kwargs.pop("local_files_only", None)  # an option of loading, which transformers.pipeline hands on
        super().__init__(*args, **kwargs)

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig, names: Sequence[str]) -> None:
        """Raises ValueError if a model cannot do the task; it is called before anything else is loaded.

        Args:
            names: the names of its classes, as far as they are known.
        """


def check_head(task: str, names: Sequence[str], *heads: str) -> None:
    """Raises ValueError if the classes of a model are known, and none of their names has one of `heads` in it.

    transformers would give the model a new head with random weights.
    """
    if names and not any(head in name for head in heads for name in names):
        raise ValueError(
            f"task {task!r} needs a model with a head for it ({' or '.join(heads)}), but this is a {names[0]}"
        )

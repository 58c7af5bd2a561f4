"""What the pipelines of this package share, and what a class tells `triptych.pipeline` before a model is loaded."""

from collections.abc import Sequence
from typing import Any, ClassVar

from transformers import PreTrainedConfig
from transformers.pipelines import Pipeline


class TaskPipeline(Pipeline):
    """A pipeline of this package.

    Attributes:
        takes_target_tokenizer: whether the class takes a tokenizer for its outputs, as `target_tokenizer=`.
    """

    takes_target_tokenizer: ClassVar[bool] = False

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

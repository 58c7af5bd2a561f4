"""What a pipeline class tells `triptych.pipeline` about the models and tokenizers that it needs."""

from typing import ClassVar

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

    @classmethod
    def check_config(cls, task: str, config: PreTrainedConfig) -> None:
        """Raises ValueError if models with this configuration cannot do the task; it is called before they load."""


def check_head(task: str, config: PreTrainedConfig, *heads: str) -> None:
    """Raises ValueError if the checkpoint says that it has a head, and it is none of those whose names have `heads`.

    transformers would give the model a new head with random weights.
    """
    names = getattr(config, "architectures", None) or []
    if names and not any(head in name for head in heads for name in names):
        raise ValueError(
            f"task {task!r} needs a model with a head for it ({' or '.join(heads)}), but this is a {names[0]}"
        )

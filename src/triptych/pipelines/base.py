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

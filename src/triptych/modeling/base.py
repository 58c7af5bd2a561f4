"""What transformers wants to know about every model of the package."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from ..configuration import TriptychBaseConfig
from .attention import AttentionWeightsTap
from .initialization import INITIALIZERS
from .layer import TransformerLayer
from .positions import RotaryPositions


class TriptychPreTrainedModel(PreTrainedModel):
    """Loading, saving, initialisation and the capabilities that all three families share."""

    config: TriptychBaseConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": TransformerLayer,
        "attentions": OutputRecorder(AttentionWeightsTap, index=0, layer_name="self_attention"),
        "cross_attentions": OutputRecorder(AttentionWeightsTap, index=0, layer_name="cross_attention"),
    }

    def __init__(self, config: TriptychBaseConfig, *args: Any, **kwargs: Any):
        if isinstance(config, TriptychBaseConfig):
            config.validate()  # fields may have been set one by one since the configuration was made
        super().__init__(config, *args, **kwargs)
        if self.can_generate():
            # Else a reload drops what transformers itself does not know: the paper's options of generation.
            self.generation_config._from_model_config = False

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        INITIALIZERS[self.config.initializer](module, self.config)
        if isinstance(module, RotaryPositions):
            module.reset()

"""What transformers wants to know about every model of the package."""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from ..configuration import TriptychBaseConfig
from ..configuration.parallelism import check_parallelism
from ..files import naming_damage
from . import parallelism  # noqa: F401 (registers the style that the plans of tensor parallelism name)
from .attention import AttentionWeightsTap
from .initialization import INITIALIZERS
from .kernels import check_kernel, register_kernels
from .layer import TransformerLayer
from .losses import token_cross_entropy
from .positions import POSITIONS, Positions

register_kernels()


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

    def post_init(self) -> None:
        """As transformers, which is told what stays in float32 when a model is loaded in float16."""
        config: Any = self.config
        depth = {"decoder.": getattr(config, "decoder_layers", 0)}
        self._keep_in_fp32_modules = [
            f"{stack}layers.{i}.feed_forward.down_proj"
            for stack in config.stacks
            if config.stack_config(stack).outgrows_float16
            for i in range(depth.get(stack, config.num_hidden_layers))
        ]
        super().post_init()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As transformers; but a damaged file is named, and a damaged generation_config.json is not passed over."""
        where = {name: kwargs[name] for name in ("subfolder", "cache_dir", "revision") if kwargs.get(name)}
        with naming_damage(pretrained_model_name_or_path, **where):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def maybe_distribute_model(cls, model: PreTrainedModel, distributed_config: Any, *args: Any, **kwargs: Any) -> Any:
        """As transformers, for a division that the model allows."""
        if distributed_config is not None:
            is_tied = bool(model.all_tied_weights_keys)
            check_parallelism(model.config, distributed_config, is_tied)
            # Not tied yet, one matrix is two to FSDP2, and where its rows do not divide evenly, one of them is copied
            # and misses what the optimizer does. Tensor parallelism wants them apart.
            if is_tied and distributed_config.fsdp_size > 1 and distributed_config.tp_size == 1:
                model.tie_weights(recompute_mapping=False)
        return super().maybe_distribute_model(model, distributed_config, *args, **kwargs)

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> Any:
        """As transformers, for a kernel that computes what the configuration says."""
        sides = [self.config.stack_config(stack) for stack in self.config.stacks]
        for side in sides:
            check_kernel(side, attn_implementation, POSITIONS[side.positions].adds_bias)
        adjusted = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        for side in sides:
            check_kernel(
                side, adjusted, POSITIONS[side.positions].adds_bias
            )  # kernels of the Hub are known only when they are loaded
        return adjusted

    def token_loss(
        self,
        logits: Tensor,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        label_smoothing: float | None = None,
    ) -> Tensor:
        """Cross-entropy of logits (…, V) and the labels (…) that they are asked for; see `token_cross_entropy`.

        By default the labels are smoothed as the configuration says while the model trains (section 5.4). In
        evaluation mode they are not: there the loss is the negative log-likelihood, which models can be compared by.
        """
        if label_smoothing is None:
            label_smoothing = self.config.label_smoothing if self.training else 0.0
        return token_cross_entropy(logits, labels, label_smoothing, num_items_in_batch)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        INITIALIZERS[self.config.initializer](module, self.config)
        if isinstance(module, Positions):
            module.reset()

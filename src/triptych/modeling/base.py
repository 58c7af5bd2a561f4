"""The base class of every model: what transformers needs to know of a model, said in one place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from ..configuration import TriptychBaseConfig
from ..configuration.plans import check_parallelism
from ..configuration.travel import saving_code
from ..files import HUB_OPTIONS, PICKLE_REMEDY, naming_damage
from .allocation import check_allocation
from .attention import AttentionWeightsTap
from .initialization import INITIALIZERS
from .kernels import check_kernel
from .labels import count_labels
from .layer import TransformerLayer
from .positions import POSITIONS, Positions
from .uploading import upload_changes


class TriptychPreTrainedModel(PreTrainedModel):
    """Loading, saving, initialisation, and the capabilities that all three families share."""

    config: TriptychBaseConfig
    auto_classes: ClassVar[tuple[str, ...]] = ()  # transformers' Auto classes that know this class
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
            config.validate()  # somebody may have set single fields since the configuration was made
        super().__init__(config, *args, **kwargs)
        if self.can_generate():
            # Otherwise a reload drops options of generation that transformers does not know, such as the paper's.
            self.generation_config._from_model_config = False

    def post_init(self) -> None:
        """Extends transformers' method: says which modules stay in float32 when a model is loaded in float16."""
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
        """Extends transformers' method: an error names the damaged file, and weights are read from safetensors only.

        This includes a damaged generation_config.json, which transformers ignores.

        Raises:
            ValueError, FileNotFoundError: see `naming_damage`.
        """
        if kwargs.get("use_safetensors", True) is False:
            raise ValueError(f"use_safetensors=False: {PICKLE_REMEDY}")
        kwargs["use_safetensors"] = True
        where = {name: kwargs[name] for name in ("subfolder", *HUB_OPTIONS) if kwargs.get(name)}
        with naming_damage(pretrained_model_name_or_path, **where):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @staticmethod
    def _load_pretrained_model(
        model: Any, state_dict: Any, checkpoint_files: Any, load_config: Any, **kwargs: Any
    ) -> Any:
        """Extends transformers' method, which reads the weights into a model that was made without memory."""
        if state_dict is None:
            check_allocation(
                load_config.pretrained_model_name_or_path, model, checkpoint_files, load_config.is_quantized
            )
        return PreTrainedModel._load_pretrained_model(model, state_dict, checkpoint_files, load_config, **kwargs)

    def _load_and_finalize_distributed_pretrained_model(self, directory: Any, *args: Any) -> Any:
        """Extends transformers' method, which does the same with the files that several processes have written."""
        check_allocation(directory, self, Path(directory).glob("*.safetensors"))
        return super()._load_and_finalize_distributed_pretrained_model(directory, *args)

    def save_pretrained(self, save_directory: Any, *args: Any, code: bool | None = None, **kwargs: Any) -> None:
        """Extends transformers' method: also writes the code of the models, unless it is told not to.

        Args:
            code: as in `TriptychBaseConfig.save_pretrained`.
        """
        with saving_code(code):
            super().save_pretrained(save_directory, *args, **kwargs)

    def push_to_hub(self, repo_id: str, *, code: bool | None = None, **kwargs: Any) -> str:
        """Extends transformers' method: also uploads the code of the models, unless it is told not to.

        Args:
            code: as in `TriptychBaseConfig.save_pretrained`.
        """
        with saving_code(code):
            return super().push_to_hub(repo_id, **kwargs)

    def _upload_modified_files(
        self, working_dir: Any, repo_id: str, files_timestamps: dict[str, float], **commit: Any
    ) -> Any:
        """Extends transformers' method, the last step of a push: the weights of an earlier model do not stay."""
        return upload_changes(Path(working_dir), repo_id, files_timestamps, **commit)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Extends transformers' method: does nothing for the classes of this package, whose code always travels."""
        if "auto_classes" not in vars(cls):
            super().register_for_auto_class(auto_class)

    @classmethod
    def maybe_distribute_model(cls, model: PreTrainedModel, distributed_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: refuses a division that the model does not allow, before weights are read."""
        if distributed_config is not None:
            is_tied = bool(model.all_tied_weights_keys)
            check_parallelism(model.config, distributed_config, is_tied)
            if distributed_config.tp_size > 1:
                cls.check_biases(model.config, distributed_config.tp_size)
            # Tied matrices that are not tied yet are two matrices to FSDP2. Where their rows do not divide evenly, it
            # copies one of them, and the copy misses the optimizer's steps. So they are tied first. Tensor parallelism
            # needs two separate matrices.
            if is_tied and distributed_config.fsdp_size > 1 and distributed_config.tp_size == 1:
                model.tie_weights(recompute_mapping=False)
        return super().maybe_distribute_model(model, distributed_config, *args, **kwargs)

    @staticmethod
    def check_biases(config: TriptychBaseConfig, processes: int) -> None:
        """Raises ValueError where positions add a bias for all heads that no plan divides between processes."""
        for stack in config.stacks:
            positions = config.stack_config(stack).positions
            if POSITIONS[positions].adds_bias and f"{stack}positions.table" not in config.base_model_tp_plan:
                raise ValueError(
                    f"tp_size={processes} cannot divide the bias that positions={positions!r} adds for every head; "
                    "divide the model with fsdp_size, or choose other positions"
                )

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> Any:
        """Extends transformers' method: refuses a kernel that cannot compute what the configuration says."""
        sides = [self.config.stack_config(stack) for stack in self.config.stacks]
        for side in sides:
            check_kernel(side, attn_implementation, POSITIONS[side.positions].adds_bias)
        adjusted = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        for side in sides:
            # What a kernel from the Hub can do is known only after it is loaded.
            check_kernel(side, adjusted, POSITIONS[side.positions].adds_bias)
        return adjusted

    def count_items(self, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        """The number of items over which the loss of these inputs is a mean.

        A training loop adds these numbers over all pieces of an update, on all processes, and calls
        `model(**inputs, **numbers)` for each piece. Then the losses of the pieces add up to the loss of the update.

        Args:
            inputs: the arguments of `forward`, including the labels.

        Returns:
            The name of the argument of `forward` that takes the number → the number.
        """
        return {"num_items_in_batch": count_labels(inputs["labels"])}

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        INITIALIZERS[self.config.initializer](module, self.config)
        if isinstance(module, Positions):
            module.reset()

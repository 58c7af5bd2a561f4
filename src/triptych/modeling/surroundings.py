"""What all layers of a stack share in one call: masks, the rotation of queries and keys, the options of the kernel.

Shapes: B batch, T positions of the stack, S positions of the memory, d residual width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..configuration import TriptychBaseConfig
from .layout import Layout
from .masks import self_attention_masks
from .positions import Rotation


@dataclass(frozen=True)
class Surroundings:
    """What all layers get in the same form.

    Args:
        masks: the kind of an attention (`full_attention`, `sliding_attention`, `cross_attention`) → its mask, in the
            form that the kernel takes. None: nothing is hidden except what the kernel itself hides.
        rotation: the cosine and sine by which queries and keys of self-attention are rotated.
        position_ids: (B or 1, T) positions, for a kernel that needs them.
        kernel_options: other arguments of the kernel, which a caller has given to `forward`.
    """

    masks: Mapping[str, Any] = field(default_factory=dict)
    rotation: Rotation | None = None
    position_ids: Tensor | None = None
    kernel_options: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: Any, **kwargs: Any) -> "Surroundings":
        """The same surroundings on another device. accelerate calls this for every argument of a module."""

        def move(x: Any) -> Any:
            return x.to(device, **kwargs) if hasattr(x, "to") else x

        rotation = None if self.rotation is None else (move(self.rotation[0]), move(self.rotation[1]))
        masks = {kind: move(mask) for kind, mask in self.masks.items()}
        return replace(self, masks=masks, rotation=rotation, position_ids=move(self.position_ids))


def alone(config: TriptychBaseConfig, kind: str, is_causal: bool, x: Tensor) -> Surroundings:
    """The surroundings of a self-attention over x (B, T, d) that is used without a stack: nothing is masked."""
    layout = Layout(torch.arange(x.shape[1], device=x.device)[None])
    return Surroundings(self_attention_masks(config, {kind}, is_causal, x, layout))

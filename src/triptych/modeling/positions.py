"""Position schemes. The order of tokens enters a Transformer in three places, and a scheme has one method for each:

- `embed`: is added to the token embeddings (learned, sinusoidal),
- `rotation`: rotates queries and keys (rotary),
- `bias`: is added to the attention scores (relative, ALiBi).

A scheme overrides the methods that it needs; the others do nothing. `adds_bias` says whether an attention kernel has
to add a bias for the scheme, and `reset` refills the buffers of the scheme after a checkpoint has been loaded.

Shapes: B batch, T queries, S keys, H heads, d width of the residual stream, r rotated width of a head.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from ..configuration import TriptychBaseConfig
from ..configuration.choices import POSITION_CHOICES, SINUSOID_LAYOUT_CHOICES
from .lookup import lookup

Rotation = tuple[Tensor, Tensor]  # cosine and sine, float32, each (B or 1, 1, T, r)


class Positions(nn.Module):
    """No positions: nothing is added or rotated.

    Args:
        is_causal: whether a position of the stack sees only itself and the positions before it.
    """

    adds_bias = False  # whether attention kernels have to add a bias to the scores

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__()

    def reset(self) -> None:
        """Computes the buffers anew. No checkpoint contains them, so they have no values after a load."""

    def embed(self, position_ids: Tensor, dtype: torch.dtype) -> Tensor | float:
        """What is added to the token embeddings: (B or 1, T, d)."""
        return 0.0

    def rotation(self, position_ids: Tensor) -> Rotation | None:
        """The cosine and sine by which queries and keys are rotated."""
        return None

    def bias(
        self, query_length: int, key_length: int, past: int | Tensor, device: torch.device | None = None
    ) -> Tensor | None:
        """What is added to the attention scores: (1, H, T, S). The first query is at the position of key `past`."""
        return None


class LearnedPositions(Positions):
    """A learned vector for each position (Gehring et al. 2017; row E of table 3; BERT, GPT)."""

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__(config, is_causal)
        self.offset = config.position_offset
        self.table = nn.Embedding(config.max_position_embeddings + self.offset, config.hidden_size)

    def embed(self, position_ids: Tensor, dtype: torch.dtype) -> Tensor:
        name = "position_ids (plus position_offset)"
        return lookup(self.table, position_ids + self.offset, name, "max_position_embeddings")


def angles(position_ids: Tensor, width: int) -> Tensor:
    """pos / 10000^(2i / width), i = 0 … width/2 - 1, as in section 3.5: position_ids.shape + (width / 2,).

    They are computed in double precision if the device has it. The angles are large: in single precision, the fifth
    digit of a sine is wrong from position 500 on.
    """
    precision = torch.float32 if position_ids.device.type == "mps" else torch.float64
    two_i = torch.arange(0, width, 2, device=position_ids.device, dtype=precision)
    return position_ids[..., None].to(precision) / 10000.0 ** (two_i / width)


def inclusive_angles(position_ids: Tensor, width: int) -> Tensor:
    """pos · 10000^(-i / (width/2 - 1)): wavelengths from 2π to 10000 · 2π, both included. Shapes as in `angles`.

    The precision and the order of operations are those of tensor2tensor and fairseq, because models have been trained
    with the rounded values.
    """
    i = torch.arange(width // 2, device=position_ids.device, dtype=torch.float32)
    return position_ids[..., None].float() * (i * -(math.log(10000.0) / max(width // 2 - 1, 1))).exp()


def interleaved(angle: Tensor) -> Tensor:
    """PE(pos, 2i) = sin, PE(pos, 2i+1) = cos, as in section 3.5: (…, d/2) → (…, d)."""
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def concatenated(angle: Tensor) -> Tensor:
    """All sines, then all cosines, as in most implementations (for example Marian): (…, d/2) → (…, d)."""
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


SINUSOIDS = SINUSOID_LAYOUT_CHOICES
SINUSOIDS |= {
    "interleaved": (angles, interleaved),
    "concatenated": (angles, concatenated),
    "tensor2tensor": (inclusive_angles, concatenated),
}


class SinusoidalPositions(Positions):
    """Sine and cosine of different frequencies (section 3.5). They are computed, so a sequence may have any length."""

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__(config, is_causal)
        self.width, self.offset = config.hidden_size, config.position_offset
        self.angles, self.arrange = SINUSOIDS[config.sinusoid_layout]

    def embed(self, position_ids: Tensor, dtype: torch.dtype) -> Tensor:
        return self.arrange(self.angles(position_ids + self.offset, self.width)).to(dtype)


def default_frequencies(config: TriptychBaseConfig, device: Any = None, **kwargs: Any) -> tuple[Tensor, float]:
    """θ_i = base^(-2i / r), (r / 2,), and the factor 1 for attention: Su et al. 2021, equation (15)."""
    parameters = config.rope_parameters
    assert parameters is not None
    width = int(config.head_dim * parameters.get("partial_rotary_factor", 1.0))
    two_i = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    return 1.0 / parameters["rope_theta"] ** (two_i / width), 1.0


FREQUENCIES = {**ROPE_INIT_FUNCTIONS, "default": default_frequencies}


class RotaryPositions(Positions):
    """Rotates each pair of dimensions (i, i + r/2) by pos · θ_i (Su et al. 2021), with transformers' scalings."""

    inv_freq: Tensor
    original_inv_freq: Tensor

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__(config, is_causal)
        assert config.rope_parameters is not None
        self.config, self.rope_type = config, config.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        frequencies, self.attention_scaling = FREQUENCIES[self.rope_type](config)
        self.register_buffer("inv_freq", frequencies, persistent=False)
        self.register_buffer("original_inv_freq", frequencies.clone(), persistent=False)

    def reset(self) -> None:
        frequencies, self.attention_scaling = FREQUENCIES[self.rope_type](self.config)
        init.copy_(self.inv_freq, frequencies)
        init.copy_(self.original_inv_freq, frequencies)

    def rotation(self, position_ids: Tensor) -> Rotation:
        return self(position_ids, position_ids)

    @torch.no_grad()
    @dynamic_rope_update  # recomputes inv_freq where the scaling depends on the length; it wants (x, position_ids)
    def forward(self, x: Tensor, position_ids: Tensor) -> Rotation:
        angle = position_ids[:, None, :, None].float() * self.inv_freq.float()
        angle = torch.cat([angle, angle], dim=-1)
        return angle.cos() * self.attention_scaling, angle.sin() * self.attention_scaling


def rotate(x: Tensor, rotation: Rotation | None) -> Tensor:
    """Rotates the first r dimensions of each head of x, (B, H, T, d_k), and leaves the others as they are."""
    if rotation is None:
        return x
    cos, sin = (part.to(x.dtype) for part in rotation)
    width = cos.shape[-1]
    turned, rest = x[..., :width], x[..., width:]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1)


class RelativePositions(Positions):
    """A learned bias for each head and bucket of distances. All layers share it (Raffel et al. 2020, section 2.1)."""

    adds_bias = True

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__(config, is_causal)
        self.bidirectional = not is_causal
        self.num_buckets, self.max_distance = config.relative_num_buckets, config.relative_max_distance
        self.table = nn.Embedding(self.num_buckets, config.num_attention_heads)

    def bias(
        self, query_length: int, key_length: int, past: int | Tensor, device: torch.device | None = None
    ) -> Tensor:
        queries = torch.arange(query_length, device=device)[:, None] + past
        keys = torch.arange(key_length, device=device)[None, :]
        return self.table(self.bucket(keys - queries)).permute(2, 0, 1).unsqueeze(0)

    def bucket(self, distance: Tensor) -> Tensor:
        """The bucket of each distance: (T, S) → (T, S).

        Half of the buckets hold one distance each. The others grow logarithmically up to max_distance. In a
        bidirectional stack, each direction has half of the buckets.
        """
        buckets, first = self.num_buckets, torch.zeros_like(distance)
        if self.bidirectional:
            buckets //= 2
            first = (distance > 0).long() * buckets
            distance = distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        exact = buckets // 2
        # The order of operations is that of T5. Another order would round some distances into the next bucket.
        growth = torch.log(distance.float().clamp(min=1) / exact) / math.log(self.max_distance / exact)
        far = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
        return first + torch.where(distance < exact, distance, far)


def head_slopes(heads: int) -> list[float]:
    """The slope of each head: 2^(-8/n), 2^(-16/n), … for n heads, if n is a power of two.

    For any other n, these are the slopes for the next smaller power of two, followed by every second slope for the
    next greater one. Source: Press et al. 2022, section 3, and the code of its authors.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes + [2 ** (-4 * (2 * i + 1) / power) for i in range(heads - power)]


class LinearBiases(Positions):
    """ALiBi: -m · distance for a head with the slope m (Press et al. 2022, section 3); symmetric in an encoder."""

    adds_bias = True
    slopes: Tensor

    def __init__(self, config: TriptychBaseConfig, is_causal: bool):
        super().__init__(config, is_causal)
        self.heads = config.num_attention_heads
        self.register_buffer("slopes", torch.tensor(head_slopes(self.heads)), persistent=False)

    def reset(self) -> None:
        init.copy_(self.slopes, torch.tensor(head_slopes(self.heads)))

    def bias(
        self, query_length: int, key_length: int, past: int | Tensor, device: torch.device | None = None
    ) -> Tensor:
        queries = torch.arange(query_length, device=device)[:, None] + past
        keys = torch.arange(key_length, device=device)[None, :]
        return -self.slopes[None, :, None, None] * (keys - queries).abs()


# The dictionary by which the configuration checks the word: a new entry is also a new word of the field.
POSITIONS = POSITION_CHOICES
POSITIONS |= {
    "none": Positions,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": RotaryPositions,
    "relative": RelativePositions,
    "alibi": LinearBiases,
}

"""The words that a configuration field can have where it chooses one of several parts.

modeling/ has a table with the same words for each part.
"""

from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

POSITION_CHOICES = ("none", "learned", "sinusoidal", "rotary", "relative", "alibi")
SINUSOID_LAYOUT_CHOICES = ("interleaved", "concatenated", "tensor2tensor")
MASKED_POSITION_CHOICES = ("skipped", "counted")
RESIDUAL_CHOICES = ("post", "pre", "parallel", "parallel_norms")
NORM_CHOICES = ("layer", "rms")
FEED_FORWARD_CHOICES = ("plain", "gated")
INITIALIZER_CHOICES = ("normal", "depth_scaled", "xavier")
DECODER_START_CHOICES = ("token", "last_label")
DENSE_LAYER_CHOICES = ("none", *ACT2FN)  # the activation of a dense layer; "none": there is no layer
ROPE_TYPE_CHOICES = ("default", *ROPE_INIT_FUNCTIONS)

"""The words that a configuration field can have where it chooses one of several parts.

A configuration can be read and checked without the model. So the words of this package stand here, and `modeling/`
enters what each word builds. A new entry in such a table (`NORMS["mine"] = ...`) also adds a word to the field.
"""

from collections.abc import Iterator
from typing import Any

from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

Table = dict[str, Any]  # word → what it builds; None until modeling/ is imported

POSITION_CHOICES: Table = dict.fromkeys(("none", "learned", "sinusoidal", "rotary", "relative", "alibi"))
SINUSOID_LAYOUT_CHOICES: Table = dict.fromkeys(("interleaved", "concatenated", "tensor2tensor"))
RESIDUAL_CHOICES: Table = dict.fromkeys(("post", "pre", "parallel", "parallel_norms"))
NORM_CHOICES: Table = dict.fromkeys(("layer", "rms"))
FEED_FORWARD_CHOICES: Table = dict.fromkeys(("plain", "gated"))
INITIALIZER_CHOICES: Table = dict.fromkeys(("normal", "depth_scaled", "xavier"))
MASKED_POSITION_CHOICES = ("skipped", "counted")
DECODER_START_CHOICES = ("token", "last_label")
ROPE_TYPE_CHOICES = ("default", *ROPE_INIT_FUNCTIONS)


class DenseLayerWords:
    """The activations that a dense layer can have, also those that a program adds to `ACT2FN`; "none": no layer."""

    def __iter__(self) -> Iterator[str]:
        yield "none"
        yield from ACT2FN


DENSE_LAYER_CHOICES = DenseLayerWords()

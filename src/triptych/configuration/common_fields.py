"""The fields that the three families share, each with one sentence of help."""

from typing import Any, ClassVar

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from .choices import (
    DENSE_LAYER_CHOICES,
    FEED_FORWARD_CHOICES,
    INITIALIZER_CHOICES,
    MASKED_POSITION_CHOICES,
    NORM_CHOICES,
    POSITION_CHOICES,
    RESIDUAL_CHOICES,
    SINUSOID_LAYOUT_CHOICES,
)
from .fields import field, number, pattern, probability, size, word

Derived = Any  # a caller may give None, "derive it from the other fields"; in the finished configuration it is an int


class CommonFields(PreTrainedConfig):
    """The fields that every Triptych configuration has, with their defaults and the values that each may have."""

    keys_to_ignore_at_inference = ["past_key_values"]
    # The stacks of the model: the prefix of each stack in the body → the attentions of its layers.
    stacks: ClassVar[dict[str, tuple[str, ...]]] = {"": ("self_attention",)}

    # --- size
    vocab_size: int = size(37000, "Number of tokens; of source tokens where the target has another vocabulary.")
    hidden_size: int = size(512, "Width of the model, d_model: the numbers that stand for a token between two layers.")
    num_attention_heads: int = size(8, "Number of attention heads of a layer, h.")
    num_key_value_heads: Derived = size(
        None, "Number of heads for keys and values, which several query heads share (GQA; 1: MQA); None: one for each."
    )
    head_dim: Derived = size(None, "Width of a query and a key in one attention head, d_k; None: d_model / h.")
    value_head_dim: Derived = size(None, "Width of a value in one attention head, d_v; None: d_k.")
    intermediate_size: int = size(2048, "Inner width of the feed-forward network of a layer, d_ff.")
    max_position_embeddings: int = size(
        1024, "Most tokens of a sequence; learned positions cannot go beyond it, and all others can."
    )
    type_vocab_size: int = number(
        0,
        "Number of segments, such as the two texts of a pair, that the model tells apart (BERT: 2); 0: it does not.",
        at_least=0,
    )

    # --- choice, one word each
    positions: str = word("sinusoidal", "How the model learns the order of the tokens.", POSITION_CHOICES)
    residual: str = word(
        "post",
        "Where the norm of a layer stands: post, after each sum with the input, as in the paper; pre, before "
        "attention and before the feed-forward network; parallel, before both, which are computed side by side; "
        "parallel_norms, the same with a norm for each.",
        RESIDUAL_CHOICES,
    )
    norm: str = word("layer", "Norm of the layers: layer norm, or RMS norm.", NORM_CHOICES)
    feed_forward: str = word(
        "plain",
        "Feed-forward network: plain, as equation (2) of the paper; or gated (GLU), as in Llama.",
        FEED_FORWARD_CHOICES,
    )
    activation: str = word(
        "relu", "Activation function inside the feed-forward network, such as relu, gelu or silu.", ACT2FN
    )
    sinusoid_layout: str = word(
        "interleaved",
        "Order of the sines and cosines of sinusoidal positions: in turn, as in section 3.5 of the paper; in two "
        "halves; or in two halves with the wavelengths of tensor2tensor.",
        SINUSOID_LAYOUT_CHOICES,
    )

    # --- detail
    norm_eps: float = number(1e-5, "Small number that keeps a norm from dividing by zero (epsilon).", above=0)
    norm_bias: bool = field(True, "Whether layer norms have a bias.")
    attention_bias: bool = field(False, "Whether the maps to queries, keys and values have a bias.")
    attention_output_bias: bool = field(False, "Whether the map behind attention has a bias.")
    feed_forward_bias: bool = field(True, "Whether the maps of the feed-forward network have a bias.")
    embedding_norm: bool = field(False, "Whether a norm follows the embeddings (BERT).")
    embedding_scale: float | int | None = number(
        1.0, "Factor by which token embeddings are multiplied; None: √d_model.", above=0
    )
    attention_scale: float | int | None = number(
        None, "Factor by which attention multiplies the products of queries and keys; None: 1/√d_k.", above=0
    )
    logit_scale: float | int = number(
        1.0, "Factor by which the scores of the vocabulary (logits) are multiplied (T5 and PaLM: 1/√d_model).", above=0
    )
    head_bias: bool = field(False, "Whether the map to the vocabulary has a bias.")
    position_offset: int = number(
        0,
        "Number of the first row of learned or sinusoidal positions that a token gets (RoBERTa, BART: 2).",
        at_least=0,
    )
    masked_positions: str = word(
        "skipped",
        "Whether padding between tokens is skipped when positions are counted, or counted.",
        MASKED_POSITION_CHOICES,
    )
    rope_parameters: dict | None = field(
        None, 'Rotary positions: their base and scaling, such as {"rope_type": "default", "rope_theta": 10000}.'
    )
    rotary_dim: int | None = size(None, "Rotary positions: how many numbers of a head are rotated; None: all.")
    relative_num_buckets: int = number(
        32, "Relative positions (T5): number of groups of distances, each of which has a learned number.", at_least=4
    )
    relative_max_distance: int = number(
        128, "Relative positions (T5): distances from here on are one group.", at_least=2
    )
    attention_pattern: list | None = pattern(
        'What the layers see, in turn: "full", or how many tokens around each (a band); for example ["full", 128].'
    )
    tie_word_embeddings: bool = field(
        True, "Whether the map to the vocabulary uses the embeddings of the tokens (of the target) as its weights."
    )
    classifier_activation: str = word(
        "none",
        "Activation function of the additional layer that a model for classification has before its map to labels; "
        "none: it has no such layer.",
        DENSE_LAYER_CHOICES,
    )

    # --- training
    dropout: float | int = probability(0.1, "Dropout behind attention, feed-forward network and embeddings, P_drop.")
    attention_dropout: float | int = probability(0.0, "Dropout on attention weights.")
    activation_dropout: float | int = probability(
        0.0, "Dropout inside the feed-forward network, after the activation function."
    )
    classifier_dropout: float | int | None = probability(None, "Dropout before the map to labels; None: as `dropout`.")
    label_smoothing: float | int = probability(
        0.0, "Label smoothing of a loss over the vocabulary, ε_ls: the part of the probability that all tokens share."
    )
    initializer: str = word(
        "xavier",
        "How new weights are drawn: normal, from a normal distribution; depth_scaled, the same, but smaller where "
        "there are many layers (GPT-2); xavier, uniformly in a range that suits the width.",
        INITIALIZER_CHOICES,
    )
    initializer_range: float | int = number(
        0.02, "Standard deviation of new weights that are drawn from a normal distribution.", at_least=0
    )

    # --- what transformers expects of every configuration
    use_cache: bool = field(
        True, "Whether generation keeps keys and values of earlier tokens (faster) instead of computing them again."
    )
    pad_token_id: int | None = number(0, "Id of the padding token.", at_least=0)
    bos_token_id: int | None = number(2, "Id of the token that begins a sequence.", at_least=0)
    eos_token_id: int | list[int] | None = field(3, "Id, or ids, of the token that ends a sequence.")

    origin: dict | None = field(
        None,
        "For models that were converted from another library's format, written by the conversion: the former "
        "`model_type` and what only that format has.",
    )

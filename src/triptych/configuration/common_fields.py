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
    hidden_size: int = size(512, "Width of the residual stream, d_model.")
    num_attention_heads: int = size(8, "Number of attention heads, h.")
    num_key_value_heads: Derived = size(None, "Number of key and value heads (GQA; 1 is MQA); None: as many as h.")
    head_dim: Derived = size(None, "Width of a query and a key, d_k; None: d_model / h.")
    value_head_dim: Derived = size(None, "Width of a value, d_v; None: d_k.")
    intermediate_size: int = size(2048, "Inner width of the feed-forward, d_ff.")
    max_position_embeddings: int = size(1024, "Longest sequence; a hard limit for learned positions only.")
    type_vocab_size: int = number(0, "Number of segment types (BERT: 2); 0: no segment embedding.", at_least=0)

    # --- choice, one word each
    positions: str = word("sinusoidal", "How the order of tokens enters the model.", POSITION_CHOICES)
    residual: str = word("post", "Where the layer norm stands relative to the residual path.", RESIDUAL_CHOICES)
    norm: str = word("layer", "The kind of normalisation.", NORM_CHOICES)
    feed_forward: str = word("plain", "Equation (2), or a gated linear unit.", FEED_FORWARD_CHOICES)
    activation: str = word("relu", "The activation of the feed-forward.", ACT2FN)
    sinusoid_layout: str = word(
        "interleaved",
        "How sines and cosines are arranged: alternating as in section 3.5, or in two halves, or as in tensor2tensor.",
        SINUSOID_LAYOUT_CHOICES,
    )

    # --- detail
    norm_eps: float = number(1e-5, "The epsilon of the normalisation.", above=0)
    norm_bias: bool = field(True, "Whether a layer norm has a bias.")
    attention_bias: bool = field(False, "Whether the query, key and value projections have a bias.")
    attention_output_bias: bool = field(False, "Whether the output projection of attention has a bias.")
    feed_forward_bias: bool = field(True, "Whether the feed-forward has biases.")
    embedding_norm: bool = field(False, "Whether the sum of the embeddings is normalised (BERT).")
    embedding_scale: float | int | None = number(1.0, "Factor on token embeddings; None: √d_model.", above=0)
    attention_scale: float | int | None = number(None, "Factor on q·k; None: 1/√d_k.", above=0)
    logit_scale: float | int = number(1.0, "Factor on the logits (T5 and PaLM: 1/√d_model).", above=0)
    head_bias: bool = field(False, "Whether the map to the vocabulary has a bias.")
    position_offset: int = number(
        0, "The number of the first position, learned or sinusoidal (RoBERTa, BART: 2).", at_least=0
    )
    masked_positions: str = word(
        "skipped",
        "Whether masked tokens behind the first unmasked token take a position, where no positions are given.",
        MASKED_POSITION_CHOICES,
    )
    rope_parameters: dict | None = field(None, "Rotary positions: rope_type, rope_theta and their scaling.")
    rotary_dim: int | None = size(None, "How many dimensions of a head are rotated; None: all.")
    relative_num_buckets: int = number(32, "Relative positions: number of distance buckets.", at_least=4)
    relative_max_distance: int = number(128, "Relative positions: distances from here on share a bucket.", at_least=2)
    attention_pattern: list | None = pattern("What each layer sees, repeated over layers: full, or a band's width.")
    tie_word_embeddings: bool = field(True, "Whether the output projection is the (target) embedding matrix.")
    classifier_activation: str = word(
        "none",
        "Activation of the dense layer that a head over sequences has before its map to labels; none: no layer.",
        DENSE_LAYER_CHOICES,
    )

    # --- training
    dropout: float | int = probability(0.1, "Dropout on sublayer outputs and on the embedding sum, P_drop.")
    attention_dropout: float | int = probability(0.0, "Dropout on attention weights.")
    activation_dropout: float | int = probability(0.0, "Dropout inside the feed-forward, after the activation.")
    classifier_dropout: float | int | None = probability(None, "Dropout before a classifier; None: as `dropout`.")
    label_smoothing: float | int = probability(0.0, "Label smoothing in training, ε_ls, uniform over the vocabulary.")
    initializer: str = word("xavier", "How weights are initialised.", INITIALIZER_CHOICES)
    initializer_range: float | int = number(0.02, "Standard deviation of normal initialisers.", at_least=0)

    # --- what transformers expects of every configuration
    use_cache: bool = field(True, "Whether keys and values are kept for the next step of generation.")
    pad_token_id: int | None = number(0, "Id of the padding token.", at_least=0)
    bos_token_id: int | None = number(2, "Id of the token that begins a sequence.", at_least=0)
    eos_token_id: int | list[int] | None = field(3, "Id, or ids, of the token that ends a sequence.")

    origin: dict | None = field(None, "A converted model: its former `model_type`, and fields that have no name here.")

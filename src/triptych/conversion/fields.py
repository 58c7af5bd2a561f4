"""Groups of configuration fields, by what they decide: outputs, training, defaults of a call, or only bookkeeping."""

from typing import Any

from transformers import PreTrainedConfig
from transformers.utils import logging

from ..configuration import TriptychBaseConfig

logger = logging.get_logger(__name__)

# Fields that have the same name in all configurations.
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
OUTPUTS = ("output_attentions", "output_hidden_states", "return_dict")
COMMON = (*TOKENS, *OUTPUTS, "tie_word_embeddings", "problem_type", "id2label", "label2id", "use_cache")
# Fields that only training uses. They change no output of a finished model, so another architecture may lack them.
TRAINING = {
    "activation_dropout",
    "attention_dropout",
    "classifier_dropout",
    "dropout",
    "initializer",
    "initializer_range",
    "label_smoothing",
    "use_cache",
}
# Fields that are defaults of arguments of a call, so that another architecture may have another default.
DEFAULTS = {"masked_positions"}
# Fields that change only the meaning of an optional input.
CALLING = {"decoder_start", "first_position_id"}
# Fields that only one position scheme uses.
OF_POSITIONS = {
    "sinusoidal": {"sinusoid_layout"},
    "relative": {"relative_max_distance", "relative_num_buckets"},
    "rotary": {"rotary_dim"},
}
# Fields of transformers that only training uses, and that Triptych does not have: the share of layers that is left out
# at random, a dropout before the map to a span, and a dropout of the embeddings that differs from that of the
# sublayers.
LAYERS_LEFT_OUT = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")
SPAN_DROPOUT = ("qa_dropout",)
EMBEDDING_DROPOUT = ("embd_pdrop", "embed_dropout")
# Fields that transformers itself writes into every configuration.
BOOKKEEPING = {"_name_or_path", "architectures", "dtype", "model_type", "transformers_version"}


def bands(config: Any) -> tuple[int | None, list[str]]:
    """The result of a pattern of attention: the width of the bands, and what each layer sees."""
    depth = max(getattr(config, name, 0) for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"))
    return config.sliding_window, [config.attention_kind(layer) for layer in range(depth)]


def training_alone(config: TriptychBaseConfig) -> dict[str, float]:
    """The fields of transformers that Triptych does not have, with the values that train a model as Triptych does."""
    return {
        **dict.fromkeys((*LAYERS_LEFT_OUT, *SPAN_DROPOUT), 0.0),
        **dict.fromkeys(EMBEDDING_DROPOUT, config.dropout),
    }


def warn_of_training(hf_config: PreTrainedConfig, config: TriptychBaseConfig, head: str) -> None:
    """Logs a warning about each field that would change the training of the model, but not its outputs."""
    for name, here in training_alone(config).items():
        if name in SPAN_DROPOUT and not head.endswith("ForQuestionAnswering"):
            continue
        if (value := getattr(hf_config, name, here)) != here:
            logger.warning_once(
                f"{type(hf_config).__name__} has {name}={value}, for which a Triptych model has no field: in training "
                f"it computes as with {name}={here}; outputs in evaluation are the same"
            )

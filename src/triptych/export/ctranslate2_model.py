"""The format ct2: a model of CTranslate2, which translates and generates fast on CPUs and GPUs.

CTranslate2's own converter reads the model in transformers' own class (ctranslate2/converters/transformers.py). Three
things are set here from our configuration, because the converter takes them from public checkpoints: the tokens
with which a text begins and ends, one name for each row of the embeddings, and the epsilon of the norms. Marian's
converter would cut off the last row, which holds padding in its public checkpoints, and begin every text with a vector
of zeros. So a Marian model goes through BART's converter, which has the same layers.
"""

from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..conversion import CannotExpress, to_hf
from ..conversion.convert import Destination, destination
from ..tokenization import save_tokenizers
from .formats import Exported
from .vocabulary import about_ends, first, names_of_rows

QUANTIZATIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16")
ACTIVATIONS = ("relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "silu", "swish")
# {field of ours: the values that the converter expects; it does not look at them}.
PLAIN = {"activation": ACTIVATIONS, "attention_scale": (None,), "attention_pattern": (None,)}
GATED = {**PLAIN, "activation": ("silu", "swish"), "rotary_dim": (None,)}
# model_type → the class of CTranslate2's converter, and what it takes for granted.
LOADERS: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "bart": ("BartLoader", PLAIN),
    "marian": ("BartLoader", PLAIN),
    "mbart": ("BartLoader", PLAIN),
    "pegasus": ("BartLoader", PLAIN),
    "gpt2": ("GPT2Loader", PLAIN),
    "opt": ("OPTLoader", PLAIN),
    "llama": ("LlamaLoader", GATED),
    "qwen2": ("Qwen2Loader", GATED),
    "bert": ("BertLoader", PLAIN),
    "distilbert": ("DistilBertLoader", PLAIN),
}
HEADS = ("TriptychForConditionalGeneration", "TriptychDecoderForCausalLM", "TriptychEncoderModel")
ROLES = ("bos_token", "eos_token", "decoder_start_token")


def check(exported: Exported) -> None:
    """Raises ValueError if CTranslate2 has no place for the model or its tokenizer.

    Raises:
        CannotExpress (a ValueError): CTranslate2 does not have the head, the architecture, or heads of two numbers.
        ValueError: there is no tokenizer, or one of two; or a token has no row in the embeddings.
    """
    model, name = exported.model, type(exported.model).__name__
    if name not in HEADS:
        raise CannotExpress(f"CTranslate2 has no counterpart of {name}; it takes {', '.join(HEADS)}")
    config = model.config
    found = destination(model, exported.model_type)
    if found.known.model_type not in LOADERS:
        raise CannotExpress(f"CTranslate2 is not fed from {found.known.model_type}; choose {', '.join(LOADERS)}")
    check_fields(found)
    if config.is_encoder_decoder:
        heads = (config.num_attention_heads, config.stack_config("decoder.").num_attention_heads)
        if heads[0] != heads[1]:
            raise CannotExpress(
                f"CTranslate2 has one number of heads for both sides, but the encoder has {heads[0]} and the decoder "
                f"{heads[1]} (num_attention_heads in decoder_overrides)"
            )
    if name == "TriptychEncoderModel" and found.known.model_type == "bert" and model.pooler is None:
        raise CannotExpress("CTranslate2's BERT has a pooler, and this model has none (pooler='none')")
    sizes = vocabulary_sizes(exported)
    if len(exported.tokenizers) != len(sizes):
        raise ValueError(
            f"CTranslate2 keeps the names of the tokens: it needs {len(sizes)} tokenizer(s), and beside the model "
            f"there are {len(exported.tokenizers)}"
        )
    for tokenizer, size in zip(exported.tokenizers, sizes, strict=True):
        names_of_rows(tokenizer, size)


def check_fields(found: Destination) -> None:
    """Raises CannotExpress if a field has another value than CTranslate2's converter takes for granted."""
    config, (_, expected) = found.config, LOADERS[found.known.model_type]
    width = config.hidden_size // config.num_attention_heads
    expected = {**expected, "head_dim": (width,), "value_head_dim": (width,)}
    for field, values in expected.items():
        if (value := getattr(config, field)) not in values:
            raise CannotExpress(
                f"CTranslate2 has {field}={' or '.join(map(repr, values))} in a model of {found.known.model_type}, "
                f"and this one has {field}={value!r}"
            )
    if config.rope_parameters and (kind := config.rope_parameters["rope_type"]) != "default":
        raise CannotExpress(f"rope_type={kind!r}: the format ct2 is written for rotation without scaling only")


def vocabulary_sizes(exported: Exported) -> list[int]:
    """The number of rows of the embeddings: of one vocabulary, or of the source's and the target's."""
    config = exported.model.config
    two = config.is_encoder_decoder and config.has_two_vocabularies
    return [config.vocab_size, config.target_vocab_size] if two else [config.vocab_size]


def write(exported: Exported, directory: Path) -> list[str]:
    """Writes the model (`model.bin`), the names of its tokens, and its tokenizer."""
    from ctranslate2.converters import transformers as converters

    config = exported.model.config
    hf_model = to_hf(exported.model, exported.model_type).float()
    hf_model.config.normalize_before = config.residual == "pre"
    hf_model.config.normalize_embedding = config.embedding_norm
    hf_model.config.position_embedding_type = "absolute"  # which transformers no longer says
    loader, _ = LOADERS[hf_model.config.model_type]
    spec = getattr(converters, loader)().get_model_spec(hf_model)
    if config.rope_parameters:  # the converter looks for the base where transformers had it before version 5
        for layer in spec.decoder.layer:
            layer.self_attention.rotary_base = np.float32(config.rope_parameters["rope_theta"])
    names = [names_of_rows(*each) for each in zip(exported.tokenizers, vocabulary_sizes(exported), strict=True)]
    if config.is_encoder_decoder:
        spec.register_source_vocabulary(names[0])
        spec.register_target_vocabulary(names[-1])
    else:
        spec.register_vocabulary(names[0])
    set_tokens(spec.config, config, names[-1], exported.tokenizers[-1])
    spec.config.layer_norm_epsilon = config.norm_eps
    spec.validate()
    spec.optimize(quantization=exported.quantization)
    spec.save(str(directory))
    save_tokenizers(directory, *exported.tokenizers)
    limit = config.stack_config("encoder." if config.is_encoder_decoder else "").max_position_embeddings
    return [
        f"CTranslate2 model by way of {type(hf_model).__name__}; texts of up to {limit} tokens",
        *about_ends(config),
    ]


def set_tokens(of_spec: Any, config: Any, names: list[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Tells CTranslate2 the names of the special tokens, by their ids in our configuration."""
    for role in ROLES:
        number = first(getattr(config, f"{role}_id", None))
        if number is not None and hasattr(of_spec, role):
            setattr(of_spec, role, names[number])
    of_spec.unk_token = tokenizer.unk_token or names[0]

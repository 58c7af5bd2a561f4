"""The format gguf: one file for llama.cpp, with the tokenizer; transformers reads it, too (`gguf_file=`).

The layout is that of llama.cpp's own converter (convert_hf_to_gguf.py), by the names of the library gguf: matrices
have the shape (out, in), and Llama's queries and keys are ordered for rotation in pairs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..conversion import CannotExpress, to_hf
from ..conversion.convert import destination
from .formats import Exported
from .vocabulary import about_ends, first_end, names_of_rows

QUANTIZATIONS = ("float32", "float16", "q8_0")
BLOCK = 32  # q8_0 keeps one factor for so many numbers of a row
FILE = "model.gguf"
HEAD = "TriptychDecoderForCausalLM"
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of tokens, gguf.TokenType
TIED = "lm_head.weight"  # left out where it is the embeddings, as in llama.cpp


def untransposed(name: str, tensor: Tensor, config: Any) -> Tensor:
    """GPT-2's matrices of its layers, which transformers keeps as (in, out)."""
    is_conv = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    return tensor.t() if is_conv else tensor


def in_pairs(name: str, tensor: Tensor, config: Any) -> Tensor:
    """Llama's queries and keys: rotated dimensions (i, i + r/2) become pairs (2i, 2i + 1)."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = next((n for part, n in heads.items() if f".{part}." in name), None)
    return tensor if found is None else tensor.unflatten(0, (found, 2, -1)).transpose(1, 2).flatten(0, 2)


def unchanged(name: str, tensor: Tensor, config: Any) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Layout:
    """How llama.cpp keeps the models of one architecture.

    Args:
        arrange: (name, tensor, configuration of transformers) → the tensor of the file.
        fixed: {field of ours: the values that llama.cpp computes with; its files do not say them}.
        is_rotary: whether positions are rotated, and norms are RMS norms.
    """

    arrange: Callable[[str, Tensor, Any], Tensor]
    fixed: dict[str, tuple[Any, ...]]
    is_rotary: bool = False


GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
ROTARY = {"activation": ("silu", "swish"), "attention_pattern": (None,), "rotary_dim": (None,)}
LAYOUTS = {
    "gpt2": Layout(untransposed, {"activation": GELU, "attention_scale": (None,)}),
    "llama": Layout(in_pairs, {**ROTARY, "attention_bias": (False,), "feed_forward_bias": (False,)}, is_rotary=True),
    "qwen2": Layout(unchanged, ROTARY, is_rotary=True),
}


def check(exported: Exported) -> None:
    """Raises ValueError if llama.cpp has no place for the model or its tokenizer.

    Raises:
        CannotExpress (a ValueError): the head, the architecture or a field has no counterpart.
        ValueError: the tokenizer is no byte-level BPE, or rows do not divide into the blocks of q8_0.
    """
    model = exported.model
    if type(model).__name__ != HEAD:
        raise CannotExpress(f"GGUF holds language models here, {HEAD}; this is {type(model).__name__}")
    found = destination(model, exported.model_type)
    name, config = found.known.model_type, found.config
    if name not in LAYOUTS:
        raise CannotExpress(f"the format gguf is not fed from {name}; choose model_type from {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    for field, values in layout.fixed.items():
        if (value := getattr(config, field)) not in values:
            raise CannotExpress(f"llama.cpp's {name} has {field}={values[0]!r}, and this model {field}={value!r}")
    if config.rope_parameters and config.rope_parameters["rope_type"] != "default":
        raise CannotExpress(
            f"rope_type={config.rope_parameters['rope_type']!r}: only rotation without scaling is written"
        )
    if exported.quantization == "q8_0" and (config.hidden_size % BLOCK or config.intermediate_size % BLOCK):
        raise ValueError(
            f"q8_0 keeps blocks of {BLOCK} numbers, of which hidden_size={config.hidden_size} and intermediate_size="
            f"{config.intermediate_size} must be multiples; choose float16"
        )
    if len(exported.tokenizers) != 1:
        raise ValueError("a GGUF file holds the tokenizer, and beside the model there is none")
    names_of_rows(exported.tokenizers[0], model.config.vocab_size)
    byte_level(exported.tokenizers[0])


def byte_level(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The rules of a tokenizer of byte-level BPE, as GPT-2's is; the vocabulary `bpe` of this package is one.

    Raises:
        ValueError: it is another one, or it changes the text before it cuts it; llama.cpp would read other tokens.
    """
    rules: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else {}
    model, cut = rules.get("model", {}), rules.get("pre_tokenizer") or {}
    plain = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    if model.get("type") != "BPE" or {name: cut.get(name) for name in plain} != plain or rules.get("normalizer"):
        raise ValueError(
            "the format gguf holds tokenizers of byte-level BPE without a normalization (--tokenizer_model bpe); this "
            f"one is {model.get('type')} behind {cut.get('type')}"
        )
    return rules


def write(exported: Exported, directory: Path) -> list[str]:
    """Writes `model.gguf`."""
    import gguf

    hf_model = to_hf(exported.model, exported.model_type).float()
    architecture = hf_model.config.model_type
    writer = gguf.GGUFWriter(str(directory / FILE), architecture)
    add_sizes(writer, exported.name, destination(exported.model, exported.model_type).config, architecture)
    add_tokens(writer, exported)
    add_tensors(writer, hf_model, exported.quantization or "float32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return [
        f"{FILE}: {type(hf_model).__name__}, {hf_model.num_parameters():,} parameters",
        *about_ends(exported.model.config),
    ]


def add_sizes(writer: Any, name: str, config: Any, architecture: str) -> None:
    """Writes the name of the model, and the fields of a configuration of Triptych."""
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    if LAYOUTS[architecture].is_rotary:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_rope_dimension_count(config.head_dim)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(config.norm_eps)
    else:
        writer.add_layer_norm_eps(config.norm_eps)


def add_tokens(writer: Any, exported: Exported) -> None:
    """Writes the tokenizer: the names of the tokens, their kinds and the merges."""
    (tokenizer,), config = exported.tokenizers, exported.model.config
    rules, names = byte_level(tokenizer), names_of_rows(tokenizer, config.vocab_size)
    kinds = {number: UNUSED for number, name in enumerate(names) if name.startswith("<no token ")}
    kinds |= {t["id"]: CONTROL if t["special"] else USER_DEFINED for t in rules["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([kinds.get(number, NORMAL) for number in range(len(names))])
    merges = rules["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ids = {
        "bos": config.bos_token_id,
        "eos": first_end(config),
        "pad": config.pad_token_id,
        "unk": tokenizer.unk_token_id,
    }
    for role, number in ids.items():
        if number is not None:
            getattr(writer, f"add_{role}_token_id")(number)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def add_tensors(writer: Any, hf_model: PreTrainedModel, quantization: str) -> None:
    """Writes the weights; vectors stay in float32, as in llama.cpp."""
    import gguf

    kinds = {"float32": "F32", "float16": "F16", "q8_0": "Q8_0"}
    kind = gguf.GGMLQuantizationType[kinds[quantization]]
    config = hf_model.config
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == config.model_type)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, tensor in hf_model.state_dict().items():
        if name == TIED and config.tie_word_embeddings:
            continue
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        numbers = LAYOUTS[config.model_type].arrange(name, tensor, config).contiguous().numpy()
        own = kind if numbers.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(place, gguf.quants.quantize(numbers, own), raw_dtype=own)

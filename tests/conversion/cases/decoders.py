"""Public decoders, in every shape that their models come in."""

from .case import WORDS, Case

GPT2 = {**WORDS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "num_labels": 3}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 40}
NEO = {
    **WORDS,
    "hidden_size": 16,
    "num_layers": 4,
    "num_heads": 2,
    "max_position_embeddings": 40,
    "attention_types": [[["global", "local"], 2]],
    "window_size": 3,
    "num_labels": 3,
}
GPTJ = {**GPT2, "rotary_dim": 4}
NEOX = {**WORDS, **SIZES, "intermediate_size": 24, "num_labels": 3}
HALF = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}
OPT = {**WORDS, **SIZES, "ffn_dim": 24, "num_labels": 3}
FALCON = {**WORDS, **SIZES, "num_labels": 3}
LLAMA = {**WORDS, **SIZES, "intermediate_size": 24, "num_key_value_heads": 2, "num_labels": 3}
BANDED = {**LLAMA, "num_hidden_layers": 3, "sliding_window": 3}

SCALINGS = {  # from a longest text of ten tokens on
    "linear": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 10,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 10,
        "attention_factor": 1.2,
    },
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.5],
        "long_factor": [2.0, 3.0],
        "original_max_position_embeddings": 10,
    },
}


CASES = [
    Case("gpt2", "GPT2Config", GPT2),
    Case(
        "gpt2: narrow feed-forward, unscaled",
        "GPT2Config",
        {**GPT2, "n_inner": 24, "scale_attn_weights": False, "activation_function": "relu"},
        ("GPT2LMHeadModel",),
    ),
    Case("gpt2: untied", "GPT2Config", {**GPT2, "tie_word_embeddings": False}, ("GPT2LMHeadModel",)),
    Case("gpt-1", "OpenAIGPTConfig", GPT2),
    Case(
        "gpt-1: silu, untied, other numbers",
        "OpenAIGPTConfig",
        {**GPT2, "afn": "silu", "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3, "summary_type": "last"},
        ("OpenAIGPTLMHeadModel",),
    ),
    Case("gpt-neo", "GPTNeoConfig", NEO),
    Case(
        "gpt-neo: another notation, a width said",
        "GPTNeoConfig",
        {**NEO, "attention_types": [[["local"], 1], [["global"], 2], [["local"], 1]], "intermediate_size": 64},
        ("GPTNeoForCausalLM",),
    ),
    Case(
        "gpt-neo: no bands, untied, narrow",
        "GPTNeoConfig",
        {**NEO, "attention_types": [[["global"], 4]], "intermediate_size": 24, "tie_word_embeddings": False},
        ("GPTNeoForCausalLM", "GPTNeoModel"),
    ),
    Case(
        "gpt-neo: three layers of alternation, as wide as the text",
        "GPTNeoConfig",
        {**NEO, "num_layers": 3, "attention_types": [[["global", "local", "global"], 1]], "window_size": 40},
        ("GPTNeoForCausalLM",),
    ),
    Case("gpt-j", "GPTJConfig", GPTJ),
    Case("gpt-j: all rotated, tied", "GPTJConfig", {**GPTJ, "rotary_dim": 8, "tie_word_embeddings": True}),
    Case("gpt-j: a width said", "GPTJConfig", {**GPTJ, "n_inner": 64, "rotary_dim": 2}, ("GPTJForCausalLM",)),
    Case("gpt-neox", "GPTNeoXConfig", {**NEOX, "rope_parameters": HALF}),
    Case(
        "gpt-neox: one sublayer after the other, tied",
        "GPTNeoXConfig",
        {**NEOX, "use_parallel_residual": False, "tie_word_embeddings": True, "rotary_pct": 0.5},
        ("GPTNeoXForCausalLM", "GPTNeoXModel"),
    ),
    Case(
        "gpt-neox: no bias in attention, all rotated",
        "GPTNeoXConfig",
        {**NEOX, "attention_bias": False, "rotary_pct": 1.0, "hidden_act": "gelu_fast"},
        ("GPTNeoXForCausalLM",),
    ),
    Case(
        "gpt-neox: scaled",
        "GPTNeoXConfig",
        {
            **NEOX,
            "hidden_size": 32,
            "rope_parameters": {
                "rope_type": "linear",
                "factor": 2.0,
                "rope_theta": 99.0,
                "partial_rotary_factor": 0.5,
            },
        },
        ("GPTNeoXForCausalLM",),
    ),
    Case("falcon", "FalconConfig", FALCON),
    Case("falcon: 40B", "FalconConfig", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    Case(
        "falcon: 2-11B",
        "FalconConfig",
        {
            **FALCON,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "num_ln_in_parallel_attn": 1,
            "tie_word_embeddings": False,
            "ffn_hidden_size": 24,
        },
        ("FalconForCausalLM", "FalconModel"),
    ),
    Case(
        "falcon: the new architecture where the old one would do",
        "FalconConfig",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 4, "num_ln_in_parallel_attn": 1},
        ("FalconForCausalLM",),
    ),
    Case(
        "falcon: one sublayer after the other, a key head for each, biases",
        "FalconConfig",
        {**FALCON, "parallel_attn": False, "multi_query": False, "bias": True, "activation": "relu"},
        ("FalconForCausalLM", "FalconForTokenClassification"),
    ),
    Case(
        "falcon: a key head for each, in parallel",
        "FalconConfig",
        {**FALCON, "multi_query": False, "num_ln_in_parallel_attn": 1},
        ("FalconForCausalLM",),
    ),
    Case("llama", "LlamaConfig", {**LLAMA, "pretraining_tp": 2}),
    Case(
        "llama: biases, tied, heads of free width, one of keys",
        "LlamaConfig",
        {
            **LLAMA,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "head_dim": 6,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-3,
        },
    ),
    *(
        Case(
            f"llama: {name} scaling",
            "LlamaConfig",
            {**LLAMA, "max_position_embeddings": 10, "rope_parameters": scaling},
            ("LlamaForCausalLM",),
        )
        for name, scaling in SCALINGS.items()
    ),
    Case("mistral", "MistralConfig", BANDED),
    Case(
        "mistral: no band, heads of free width",
        "MistralConfig",
        {**LLAMA, "sliding_window": None, "head_dim": 8, "num_key_value_heads": 4},
        ("MistralForCausalLM", "MistralModel"),
    ),
    Case("opt", "OPTConfig", OPT),
    Case(
        "opt: norms after the sublayers, no biases, untied",
        "OPTConfig",
        {**OPT, "do_layer_norm_before": False, "enable_bias": False, "tie_word_embeddings": False},
        ("OPTForCausalLM", "OPTModel"),
    ),
    Case("phi3", "Phi3Config", {**LLAMA, "sliding_window": 3, "rope_parameters": HALF}),
    Case(
        "phi3: all rotated, no band, tied", "Phi3Config", {**LLAMA, "tie_word_embeddings": True}, ("Phi3ForCausalLM",)
    ),
    Case("qwen2", "Qwen2Config", BANDED),
    Case(
        "qwen2: bands in the later layers",
        "Qwen2Config",
        {**BANDED, "use_sliding_window": True, "max_window_layers": 1, "tie_word_embeddings": True},
        ("Qwen2ForCausalLM", "Qwen2Model"),
    ),
    Case(
        "qwen2: bands in alternation, heads of free width",
        "Qwen2Config",
        {
            **BANDED,
            "use_sliding_window": True,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "head_dim": 6,
        },
        ("Qwen2ForCausalLM",),
    ),
    Case(
        "qwen2: a width that no layer uses",
        "Qwen2Config",
        {**BANDED, "use_sliding_window": True, "max_window_layers": 3},
        ("Qwen2ForCausalLM",),
    ),
]

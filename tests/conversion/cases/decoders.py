"""Public decoders, in every shape that their models come in."""

from case import WORDS, Case

GPT2 = {**WORDS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "num_labels": 3}


CASES = [
    Case("gpt2", "GPT2Config", GPT2),
    Case(
        "gpt2: narrow feed-forward, unscaled",
        "GPT2Config",
        {**GPT2, "n_inner": 24, "scale_attn_weights": False, "activation_function": "relu"},
        ("GPT2LMHeadModel",),
    ),
    Case("gpt2: untied", "GPT2Config", {**GPT2, "tie_word_embeddings": False}, ("GPT2LMHeadModel",)),
]

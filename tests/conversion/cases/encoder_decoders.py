"""Public encoder-decoders, in every shape that their models come in."""

from .case import WORDS, Case

BART = {
    **WORDS,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 20,
    "decoder_start_token_id": 2,
    "num_labels": 3,
}
MARIAN = {**BART, "decoder_start_token_id": 0, "forced_eos_token_id": 2}
SEPARATE = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 61}
FSMT = {**{name: value for name, value in BART.items() if name != "vocab_size"}, "tgt_vocab_size": 53}
T5 = {
    **WORDS,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
    "num_labels": 3,
}
UNEQUAL = {"decoder_attention_heads": 4, "decoder_ffn_dim": 40}
GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}

CASES = [
    Case("bart", "BartConfig", BART),
    Case(
        "bart: scaled, relu, three and one layers",
        "BartConfig",
        {**BART, "scale_embedding": True, "activation_function": "relu", "encoder_layers": 3, "decoder_layers": 1},
        ("BartForConditionalGeneration", "BartForSequenceClassification"),
    ),
    Case(
        "bart: untied",
        "BartConfig",
        {**BART, "tie_word_embeddings": False, "encoder_layerdrop": 0.2},
    ),
    Case("bart: sides of different sizes", "BartConfig", {**BART, **UNEQUAL}, ("BartForConditionalGeneration",)),
    Case("mbart", "MBartConfig", {**BART, "scale_embedding": True}),
    Case("mbart: untied", "MBartConfig", {**BART, "tie_word_embeddings": False}),
    Case("pegasus", "PegasusConfig", {**MARIAN, "scale_embedding": True}),
    Case("marian", "MarianConfig", MARIAN),
    Case(
        "marian: scaled, swish, one and three layers",
        "MarianConfig",
        {**MARIAN, "scale_embedding": True, "activation_function": "swish", "encoder_layers": 1, "decoder_layers": 3},
    ),
    Case("marian: two vocabularies", "MarianConfig", {**MARIAN, **SEPARATE}),
    Case("marian: two vocabularies, untied", "MarianConfig", {**MARIAN, **SEPARATE, "tie_word_embeddings": False}),
    Case(
        "marian: two vocabularies of one size",
        "MarianConfig",
        {**MARIAN, "share_encoder_decoder_embeddings": False},
        ("MarianMTModel",),
    ),
    Case("marian: sides of different sizes", "MarianConfig", {**MARIAN, **UNEQUAL, **SEPARATE}, ("MarianMTModel",)),
    Case("marian: untied", "MarianConfig", {**MARIAN, "tie_word_embeddings": False}),
    Case("m2m_100", "M2M100Config", BART),
    Case(
        "m2m_100: another padding, unscaled, gelu, two and three layers",
        "M2M100Config",
        {**BART, "pad_token_id": 3, "scale_embedding": False, "activation_function": "gelu", "decoder_layers": 3},
    ),
    Case("m2m_100: untied", "M2M100Config", {**BART, "tie_word_embeddings": False}),
    Case("fsmt", "FSMTConfig", {**FSMT, "src_vocab_size": 61, "pad_token_id": 1, "bos_token_id": 0}),
    Case("fsmt: sides of different sizes", "FSMTConfig", {**FSMT, "src_vocab_size": 61, **UNEQUAL}),
    Case(
        "fsmt: one vocabulary, unscaled, one and three layers",
        "FSMTConfig",
        {
            **FSMT,
            "src_vocab_size": 53,
            "tie_word_embeddings": True,
            "scale_embedding": False,
            "encoder_layers": 1,
            "decoder_layers": 3,
        },
    ),
    Case("t5", "T5Config", T5),
    Case(
        "t5: version 1.1, three and two layers", "T5Config", {**T5, **GATED, "num_layers": 3, "num_decoder_layers": 2}
    ),
    Case("t5: gated silu, old fields", "T5Config", {**T5, "feed_forward_proj": "gated-silu", "n_positions": 512}),
    Case("mt5", "MT5Config", {**T5, "feed_forward_proj": "gated-gelu"}),
]

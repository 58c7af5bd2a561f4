"""Public encoders, in every shape that their models come in."""

from case import WORDS, Case

BERT = {
    **WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "num_labels": 3,
}

CASES = [
    Case("bert", "BertConfig", BERT),
    Case(
        "bert: no segments, relu, other numbers",
        "BertConfig",
        {**BERT, "type_vocab_size": 1, "hidden_act": "relu", "layer_norm_eps": 1e-3, "classifier_dropout": 0.2},
        ("BertForSequenceClassification",),
    ),
    Case("bert: untied", "BertConfig", {**BERT, "tie_word_embeddings": False}, ("BertForMaskedLM",)),
]

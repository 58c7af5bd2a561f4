"""Public encoders, in every shape that their models come in."""

from .case import WORDS, Case

BERT = {
    **WORDS,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
    "num_labels": 3,
}
ROBERTA = {**BERT, "pad_token_id": 1, "bos_token_id": 0}
ELECTRA = {**BERT, "embedding_size": 16}
DISTILBERT = {
    **WORDS,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
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
    Case(
        "bert: untied", "BertConfig", {**BERT, "tie_word_embeddings": False}, ("BertForMaskedLM", "BertForPreTraining")
    ),
    Case("roberta", "RobertaConfig", ROBERTA),
    Case("xlm-roberta", "XLMRobertaConfig", {**ROBERTA, "type_vocab_size": 1}),
    Case("camembert", "CamembertConfig", {**ROBERTA, "type_vocab_size": 1}),
    Case(
        "roberta: another padding, silu, other numbers",
        "RobertaConfig",
        {**ROBERTA, "pad_token_id": 3, "hidden_act": "silu", "layer_norm_eps": 1e-3, "classifier_dropout": 0.2},
        ("RobertaForSequenceClassification", "RobertaForTokenClassification"),
    ),
    Case(
        "roberta: padding is the first token",
        "RobertaConfig",
        {**ROBERTA, "pad_token_id": 0, "bos_token_id": 1, "problem_type": "single_label_classification"},
        ("RobertaForSequenceClassification", "RobertaForMultipleChoice"),
    ),
    Case("roberta: untied", "RobertaConfig", {**ROBERTA, "tie_word_embeddings": False}, ("RobertaForMaskedLM",)),
    Case("distilbert", "DistilBertConfig", DISTILBERT),
    Case(
        "distilbert: sinusoids, relu, classifier dropout",
        "DistilBertConfig",
        {**DISTILBERT, "sinusoidal_pos_embds": True, "activation": "relu", "seq_classif_dropout": 0.3},
        ("DistilBertForMaskedLM", "DistilBertForSequenceClassification", "DistilBertForTokenClassification"),
    ),
    Case(
        "distilbert: untied",
        "DistilBertConfig",
        {**DISTILBERT, "tie_word_embeddings": False},
        ("DistilBertForMaskedLM",),
    ),
    Case("electra", "ElectraConfig", ELECTRA),
    Case(
        "electra: relu, other numbers, another summary",
        "ElectraConfig",
        {
            **ELECTRA,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
            "classifier_dropout": 0.2,
            "summary_activation": "tanh",
            "summary_last_dropout": 0.3,
        },
        (
            "ElectraModel",
            "ElectraForSequenceClassification",
            "ElectraForTokenClassification",
            "ElectraForMultipleChoice",
        ),
    ),
    Case("electra: untied", "ElectraConfig", {**ELECTRA, "tie_word_embeddings": False}, ("ElectraForMaskedLM",)),
]

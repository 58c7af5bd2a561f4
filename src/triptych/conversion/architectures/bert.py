"""BERT (Devlin et al. 2018)."""

from functools import partial

from ...configuration import TriptychEncoderConfig
from ..architecture import Architecture, named_alike
from ..arrangements import Copied
from ..rules import rules

BODY = {
    "embeddings.word_embeddings": "embed_tokens",
    "embeddings.position_embeddings": "positions.table",
    "embeddings.token_type_embeddings": "segments.table",
    "embeddings.LayerNorm": "embedding_norm",
    "encoder.layer.{i}.attention.self.query": "layers.{i}.self_attention.q_proj",
    "encoder.layer.{i}.attention.self.key": "layers.{i}.self_attention.k_proj",
    "encoder.layer.{i}.attention.self.value": "layers.{i}.self_attention.v_proj",
    "encoder.layer.{i}.attention.output.dense": "layers.{i}.self_attention.o_proj",
    "encoder.layer.{i}.attention.output.LayerNorm": "layers.{i}.norms.self_attention",
    "encoder.layer.{i}.intermediate.dense": "layers.{i}.feed_forward.up_proj",
    "encoder.layer.{i}.output.dense": "layers.{i}.feed_forward.down_proj",
    "encoder.layer.{i}.output.LayerNorm": "layers.{i}.norms.feed_forward",
}
FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "max_position_embeddings": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "initializer_range": "initializer_range",
    "layer_norm_eps": "norm_eps",
    "classifier_dropout": "classifier_dropout",
}
REFUSED = {
    "is_decoder": ((False,), "an encoder that sees the past only"),
    "add_cross_attention": ((False,), "cross-attention in an encoder"),
    "position_embedding_type": (("absolute",), "relative positions inside the attention of BERT"),
}


heads = partial(named_alike, "TriptychEncoder")

BERT = Architecture(
    model_type="bert",
    config_class=TriptychEncoderConfig,
    heads=heads(
        "Bert",
        "ForPreTraining",
        "ForMaskedLM",
        "ForNextSentencePrediction",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
    ),
    fields=FIELDS,
    refused=REFUSED,
    rules=rules(
        {
            **BODY,
            "pooler.dense": "pooler.dense",
            "cls.predictions.transform.dense": "transform.dense",
            "cls.predictions.transform.LayerNorm": "transform.norm",
            "cls.predictions.decoder": "lm_head",
            "cls.seq_relationship": "next_sentence",
            "classifier": "classifier",
            "qa_outputs": "qa_outputs",
        }
    )
    + rules({"cls.predictions.bias": "lm_head.bias"}, Copied()),
)

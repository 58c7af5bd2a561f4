"""What the tables of BERT and of the encoders after it share: names of fields, tensors and classes."""

from functools import partial
from typing import Any

from ..table import CannotExpress, named_alike

# (name of the architecture in class names, kinds of heads) → {class of transformers: class of Triptych}
heads = partial(named_alike, "TriptychEncoder")
HEADS = (
    "ForMaskedLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
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
# Before its map to labels, the head for sequences has a dense layer; all other heads have only the map.
CLASSIFIERS = {
    "classifier": "classifier",
    "classifier.dense": "classifier.dense",
    "classifier.out_proj": "classifier.out_proj",
    "qa_outputs": "qa_outputs",
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


def check_one_activation(hf_config: Any, head: str) -> None:
    """Raises CannotExpress if the layers have another activation than the layer before the map to the vocabulary."""
    if head.endswith("ForMaskedLM") and hf_config.hidden_act != "gelu":
        raise CannotExpress(
            f"{head} has hidden_act={hf_config.hidden_act!r} in its layers, but gelu before its map to the "
            "vocabulary: a Triptych model has one activation"
        )

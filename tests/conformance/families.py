"""The three families as transformers' mixins want them described: testers with tiny configurations and inputs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

import triptych
from triptych.modeling.base import TriptychPreTrainedModel
from triptych.tokenization import special_token_config, train_tokenizer

FIRST_WORD, END = 5, 3  # ids below the first word are special
TEXTS = ["the house is small", "a dog and a cat", "this example is about", "hypothesis"]
VERDICTS = ("contradiction", "neutral", "entailment")  # zero-shot classification looks for the last by its name


def model_classes(config_class: type[PreTrainedConfig]) -> tuple[type[PreTrainedModel], ...]:
    """All public models of a family, its body first."""
    public = (getattr(triptych, name) for name in triptych.__all__ if name.startswith("Triptych"))
    family = [cls for cls in public if issubclass(cls, TriptychPreTrainedModel) and cls.config_class is config_class]
    return tuple(sorted(family, key=lambda cls: (not cls.__name__.endswith("Model"), cls.__name__)))


class ModelTester:
    """What the mixins ask of a family. They read its sizes, and change the configurations that they get."""

    config_class: type[PreTrainedConfig]
    preset: str
    fields: dict[str, Any] = {}
    tokenizer_family: str
    tokenizer_model = "bpe"
    causal_lm_class: type[PreTrainedModel]  # what the mixins call the model that they train and divide

    batch_size, seq_length = 2, 7
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 4  # of all tiny presets
    num_choices = 3
    is_training = True

    def __init__(self, parent: Any) -> None:
        self.parent = parent

    def get_config(self) -> PreTrainedConfig:
        """Without dropout: what is trained here, and compared with a model that other processes share."""
        return self.config_class.from_preset(self.preset, dropout=0.0, attention_dropout=0.0, **self.fields)

    def words(self) -> Tensor:
        return torch.randint(FIRST_WORD, self.get_config().vocab_size, (self.batch_size, self.seq_length))

    def mask(self) -> Tensor:
        """The last row is padded on the right."""
        mask = torch.ones(self.batch_size, self.seq_length, dtype=torch.long)
        mask[-1, -2:] = 0
        return mask

    def inputs(self) -> dict[str, Tensor]:
        return {"input_ids": self.words(), "attention_mask": self.mask()}

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Tensor]]:
        return self.config_class.from_preset(self.preset, **self.fields), self.inputs()

    def save_checkpoint(self, model_class: type[PreTrainedModel], folder: Path) -> None:
        """A tiny random model with a tokenizer."""
        tokenizer = train_tokenizer(TEXTS, model=self.tokenizer_model, vocab_size=300, family=self.tokenizer_family)
        fields = {**self.fields, **special_token_config(tokenizer, family=self.tokenizer_family)}
        config = self.config_class.from_preset(self.preset, **fields)
        config.id2label = dict(enumerate(VERDICTS))
        config.label2id = {name: i for i, name in enumerate(VERDICTS)}
        for part in (model_class(config), tokenizer):
            part.save_pretrained(folder)


class EncoderDecoderTester(ModelTester):
    """The Transformer of 2017."""

    config_class, preset = triptych.TriptychConfig, "tiny"
    causal_lm_class = triptych.TriptychForConditionalGeneration
    # The mixins compare with the plain loss, and count the start token to the output: the first word that they teach.
    fields = {"label_smoothing": 0.0, "decoder_start_token_id": 1}
    tokenizer_family = "encoder-decoder"

    def inputs(self) -> dict[str, Tensor]:
        source = self.words()
        source[:, -3] = END  # whose state is classified
        target = {"decoder_input_ids": self.words(), "decoder_attention_mask": self.mask()}
        return {"input_ids": source, "attention_mask": self.mask(), **target}


class RelativeEncoderDecoderTester(EncoderDecoderTester):
    """With T5's choices."""

    fields = {
        **EncoderDecoderTester.fields,
        "positions": "relative",
        "relative_num_buckets": 8,
        "relative_max_distance": 16,
        "residual": "pre",
        "norm": "rms",
    }


class EncoderTester(ModelTester):
    """BERT."""

    config_class, preset = triptych.TriptychEncoderConfig, "tiny-encoder"
    causal_lm_class = triptych.TriptychEncoderForMaskedLM
    tokenizer_family, tokenizer_model = "encoder", "word"

    def inputs(self) -> dict[str, Tensor]:
        segments = (torch.arange(self.seq_length) > 3).long().expand(self.batch_size, -1)
        return {**super().inputs(), "token_type_ids": segments}


class DecoderTester(ModelTester):
    """GPT-2."""

    config_class, preset = triptych.TriptychDecoderConfig, "tiny-decoder"
    causal_lm_class = triptych.TriptychDecoderForCausalLM
    tokenizer_family = "decoder"


class RotaryDecoderTester(DecoderTester):
    """With Llama's choices."""

    fields = {
        "positions": "rotary",
        "norm": "rms",
        "feed_forward": "gated",
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    }

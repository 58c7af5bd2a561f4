"""transformers' common tests, as they are, on all our models."""

import json
import os
import tempfile
import unittest
import weakref
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import triptych

from .families import (
    DecoderTester,
    EncoderDecoderTester,
    EncoderTester,
    ModelTester,
    RelativeEncoderDecoderTester,
    RotaryDecoderTester,
    model_classes,
)
from .inapplicable import INAPPLICABLE, OPTIONAL, SLOW
from .listing import AccountedFor, account_for
from .sdist import require_transformers_tests

require_transformers_tests()

FAMILIES = (EncoderDecoderTester, EncoderTester, DecoderTester)

# The pipelines' mixin looks for tiny checkpoints here, in place of the Hub; they are made when it asks for one.
CHECKPOINTS = tempfile.TemporaryDirectory()
SUMMARY = Path(CHECKPOINTS.name, "reports", "tiny_model_summary.json")
SUMMARY.parent.mkdir()
SUMMARY.write_text(
    json.dumps(
        {
            model_class.__name__: {"tokenizer_classes": ["PreTrainedTokenizerFast"], "processor_classes": []}
            for family in FAMILIES
            for model_class in model_classes(family.config_class)
        }
    )
)

with (
    patch.dict(os.environ, {"TRANSFORMERS_TEST_DEVICE": "cpu", "TRANSFORMERS_TINY_MODEL_PATH": CHECKPOINTS.name}),
    # else they load the source distribution's copy of the package beside the installed one
    patch("transformers.utils.direct_transformers_import", lambda *args: transformers),
):
    from transformers_tests import test_fsdp_mixin, test_pipeline_mixin, test_tensor_parallel_mixin
    from transformers_tests.generation.test_utils import GenerationTesterMixin
    from transformers_tests.pipelines import text as pipeline_tests
    from transformers_tests.test_configuration_common import ConfigTester
    from transformers_tests.test_fsdp_mixin import FSDPTesterMixin
    from transformers_tests.test_memory_cleanup_mixin import MemoryCleanupMixin
    from transformers_tests.test_modeling_common import ModelTesterMixin
    from transformers_tests.test_pipeline_mixin import PipelineTesterMixin
    from transformers_tests.test_tensor_parallel_mixin import TensorParallelTesterMixin
    from transformers_tests.test_training_mixin import TrainingTesterMixin

# Their own switches: all models, and as many processes as a test wants, for these share the cores.
test_fsdp_mixin.FSDP_DISTRIBUTED_TEST_MODEL_TYPES = None
test_fsdp_mixin._get_available_fsdp_workers = lambda: 8
test_tensor_parallel_mixin.TP_DISTRIBUTED_TEST_MODEL_TYPES = None
pipeline_tests.install(test_pipeline_mixin.pipeline_test_mapping)


class FamilyTests(
    ModelTesterMixin, PipelineTesterMixin, TrainingTesterMixin, FSDPTesterMixin, TensorParallelTesterMixin
):
    """All mixins, for the family that a tester describes."""

    model_tester_class: type[ModelTester]
    model_tester: Any = None
    test_can_init_all_missing_weights_before_2023 = True  # models without a year, too

    def setUp(self) -> None:
        self.model_tester = self.model_tester_class(self)
        config_class = self.model_tester_class.config_class
        self.all_model_classes = model_classes(config_class)
        # FSDP's mixin divides what AutoModelForCausalLM makes of a configuration; here, of each family's.
        made = {config_class: self.model_tester_class.causal_lm_class}
        causal = patch.dict(transformers.AutoModelForCausalLM._model_mapping._extra_content, made)
        causal.start()
        self.addCleanup(causal.stop)

    def test_config(self) -> None:
        fields = {"hidden_size": 48, **self.model_tester_class.fields}  # the default numbers of heads divide it
        ConfigTester(self, config_class=self.model_tester_class.config_class, **fields).run_common_tests()

    def _prepare_for_class(
        self, inputs_dict: dict[str, Tensor], model_class: type[PreTrainedModel], return_labels: bool = False
    ) -> dict[str, Tensor]:
        """BERT's two objectives have labels that the mixin leaves to the tests of BERT."""
        inputs: dict[str, Tensor] = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is triptych.TriptychEncoderForPreTraining:
            inputs["labels"] = torch.zeros_like(inputs["input_ids"])
            inputs["next_sentence_label"] = torch.zeros(len(inputs["input_ids"]), dtype=torch.long)
        return inputs

    def run_pipeline_test(
        self, task: str, repo_name: str, model_architecture: type[PreTrainedModel], **kwargs: Any
    ) -> None:
        folder = Path(CHECKPOINTS.name, model_architecture.config_class.model_type, repo_name)
        self.model_tester.save_checkpoint(model_architecture, folder)
        super().run_pipeline_test(task, repo_name, model_architecture, **kwargs)


class EncoderDecoderTests(FamilyTests, GenerationTesterMixin):
    is_encoder_decoder = True
    pipeline_model_mapping = {
        "text-classification": triptych.TriptychForSequenceClassification,
        "zero-shot": triptych.TriptychForSequenceClassification,
    }

    def _create_text_training_batch(self, batch_size: int, seq_length: int, vocab_size: int) -> dict[str, Tensor]:
        """The mixin gives the first token as the source, and expects the whole sequence, the start token included."""
        batch: dict[str, Tensor] = super()._create_text_training_batch(batch_size, seq_length, vocab_size)
        batch["attention_mask"] = (torch.arange(seq_length) == 0).long().expand(batch_size, -1)
        batch["labels"] = batch["input_ids"].roll(-1, dims=1)
        return batch


class DecoderTests(FamilyTests, GenerationTesterMixin):
    pipeline_model_mapping = {
        "feature-extraction": triptych.TriptychDecoderModel,
        "text-classification": triptych.TriptychDecoderForSequenceClassification,
        "text-generation": triptych.TriptychDecoderForCausalLM,
        "token-classification": triptych.TriptychDecoderForTokenClassification,
        "zero-shot": triptych.TriptychDecoderForSequenceClassification,
    }


@account_for(INAPPLICABLE["encoder-decoder"], OPTIONAL, SLOW)
class TestEncoderDecoder(EncoderDecoderTests, AccountedFor):
    model_tester_class = EncoderDecoderTester


@account_for(INAPPLICABLE["relative encoder-decoder"], OPTIONAL, ("*",))
class TestRelativeEncoderDecoder(EncoderDecoderTests, AccountedFor):
    model_tester_class = RelativeEncoderDecoderTester


@account_for(INAPPLICABLE["encoder"], OPTIONAL, SLOW)
class TestEncoder(FamilyTests, AccountedFor):
    model_tester_class = EncoderTester
    pipeline_model_mapping = {
        "feature-extraction": triptych.TriptychEncoderModel,
        "fill-mask": triptych.TriptychEncoderForMaskedLM,
        "text-classification": triptych.TriptychEncoderForSequenceClassification,
        "token-classification": triptych.TriptychEncoderForTokenClassification,
        "zero-shot": triptych.TriptychEncoderForSequenceClassification,
    }


@account_for(INAPPLICABLE["decoder"], OPTIONAL, SLOW)
class TestDecoder(DecoderTests, AccountedFor):
    model_tester_class = DecoderTester


@account_for(INAPPLICABLE["rotary decoder"], OPTIONAL, ("*",))
class TestRotaryDecoder(DecoderTests, AccountedFor):
    model_tester_class = RotaryDecoderTester


class TestMemory(unittest.TestCase):
    """The mixin drops what a test leaves on itself and on its class; nothing else may hold on to a model."""

    def test_every_model_is_freed(self) -> None:
        freed: dict[str, Any] = {}

        class Uses(MemoryCleanupMixin, unittest.TestCase):
            def test_models(self) -> None:
                self.models = []
                for family in FAMILIES:
                    config, inputs = family(self).prepare_config_and_inputs_for_common()
                    choices = {name: value[:, None] for name, value in inputs.items()}
                    for model_class in model_classes(family.config_class):
                        model = model_class(config)
                        several = model_class is triptych.TriptychEncoderForMultipleChoice
                        outputs = model(**(choices if several else inputs), output_hidden_states=True)
                        self.models.append((model, outputs))
                        freed[model_class.__name__] = weakref.ref(model)
                        type(self).last = model

        result = unittest.TestResult()
        unittest.TestSuite([Uses("test_models")]).run(result)
        assert result.failures + result.errors == []
        assert len(freed) == sum(len(model_classes(family.config_class)) for family in FAMILIES)
        assert [name for name, model in freed.items() if model() is not None] == []

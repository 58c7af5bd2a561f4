"""Not in transformers' source distribution: what each pipeline gives for a text.

`PipelineTesterMixin` builds a pipeline with `get_test_pipeline`, hands it to `run_pipeline_test` together with the
examples, and afterwards runs it in batches by itself.
"""

import importlib
import math
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import Pipeline, PreTrainedModel, PreTrainedTokenizerBase, pipeline
from transformers.pipelines import PipelineException

TEXTS = ["the house is small", "a dog and a cat"]


class PipelineTest:
    """A pipeline, and what it must give."""

    task: str
    options: dict[str, Any] = {}
    examples: list[str] = TEXTS

    def get_test_pipeline(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: str
    ) -> tuple[Pipeline, list[str]]:
        pipe = pipeline(self.task, model=model.to(getattr(torch, dtype)), tokenizer=tokenizer, **self.options)
        assert str(pipe.model.dtype) == f"torch.{dtype}"
        return pipe, self.examples

    def run_pipeline_test(self, pipe: Pipeline, examples: list[str]) -> None:
        one, many = pipe(examples[0]), pipe(examples)
        assert len(many) == len(examples)
        for output in (one, *many):
            self.check(pipe, output)
        self.check_options(pipe, examples)

    def check(self, pipe: Pipeline, output: Any) -> None:
        raise NotImplementedError

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        """What else the pipeline can be asked for."""


def assert_distribution(scores: list[float]) -> None:
    assert all(0 < score < 1 for score in scores)
    assert math.isclose(sum(scores), 1, abs_tol=1e-2)
    assert scores == sorted(scores, reverse=True)


class FeatureExtractionPipelineTests(PipelineTest):
    task = "feature-extraction"

    def check(self, pipe: Pipeline, output: Any) -> None:
        features = torch.tensor(output)
        assert features.ndim == 3
        assert features.shape[-1] == pipe.model.config.hidden_size
        assert features.isfinite().all()

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        assert torch.is_tensor(pipe(examples[0], return_tensors=True))


class FillMaskPipelineTests(PipelineTest):
    task = "fill-mask"
    examples = ["the [MASK] is small", "a dog and a [MASK]"]

    def check(self, pipe: Pipeline, output: Any) -> None:
        scores = [guess["score"] for guess in output]
        assert len(output) == 5
        assert scores == sorted(scores, reverse=True)
        for guess in output:
            assert guess["token_str"] == pipe.tokenizer.decode([guess["token"]])
            assert "[MASK]" not in guess["sequence"]

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        assert [len(guesses) for guesses in pipe("the [MASK] is [MASK]")] == [5, 5]
        assert {guess["token_str"] for guess in pipe(examples[0], targets=["dog", "cat"])} == {"dog", "cat"}
        with pytest.raises(PipelineException, match="No mask_token"):
            pipe("no mask here")


class TextClassificationPipelineTests(PipelineTest):
    task = "text-classification"

    def check(self, pipe: Pipeline, output: Any) -> None:
        first = output[0] if isinstance(output, list) else output
        assert first["label"] in pipe.model.config.label2id
        assert 0 < first["score"] < 1

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        every = pipe(examples[0], top_k=None)
        assert {guess["label"] for guess in every} == set(pipe.model.config.label2id)
        assert_distribution([guess["score"] for guess in every])


class ZeroShotClassificationPipelineTests(PipelineTest):
    task = "zero-shot-classification"
    options = {"candidate_labels": ["house", "dog", "cat"]}

    def check(self, pipe: Pipeline, output: Any) -> None:
        assert set(output["labels"]) == {"house", "dog", "cat"}
        assert_distribution(output["scores"])

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        independent = pipe(examples[0], candidate_labels=["house", "dog"], multi_label=True)
        assert all(0 < score < 1 for score in independent["scores"])


class TextGenerationPipelineTests(PipelineTest):
    task = "text-generation"
    options = {"max_new_tokens": 4, "do_sample": False}

    def check(self, pipe: Pipeline, output: Any) -> None:
        (answer,) = output
        assert answer["generated_text"].startswith(tuple(TEXTS))

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        whole, new = pipe(examples[0])[0], pipe(examples[0], return_full_text=False)[0]
        assert whole["generated_text"] == examples[0] + new["generated_text"]
        assert len(pipe(examples[0], num_beams=3, num_return_sequences=2)) == 2


class TokenClassificationPipelineTests(PipelineTest):
    task = "token-classification"
    options = {"ignore_labels": []}

    def check(self, pipe: Pipeline, output: Any) -> None:
        assert output
        for token in output:
            assert token["entity"] in pipe.model.config.label2id
            assert 0 < token["score"] < 1

    def check_options(self, pipe: Pipeline, examples: list[str]) -> None:
        (text, *_) = examples
        for token in pipe(text):
            assert text[token["start"] : token["end"]].strip() == token["word"].strip("Ġ▁ ")
        assert "entity_group" in pipe(text, aggregation_strategy="simple")[0]


def install(mapping: dict[str, dict[str, str]]) -> None:
    """The classes above stand where the mixin's `mapping` says that transformers has its own."""
    for entry in mapping.values():
        module_name, _, class_name = entry["test"].rpartition(".")
        if class_name in globals():
            module = ModuleType(module_name)
            setattr(module, class_name, globals()[class_name])
            sys.modules[module_name] = module
            assert importlib.import_module(module_name) is module

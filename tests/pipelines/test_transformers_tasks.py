"""The tasks that transformers has kept: our classes answer as the classes that they were converted from.

Each case is a model of transformers with random weights. It and its conversion lie in a directory each, and each of
them is asked through `transformers.pipeline` and through `triptych.pipeline`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast, TextIteratorStreamer, TextStreamer

import triptych
from triptych.tokenization import train_tokenizer

LINES = [
    "the light is on in Oslo",
    "the window is open",
    "a big dog was in the house with Kim",
    "where is the small cat",
]
MAKERS = {"transformers": transformers.pipeline, "triptych": triptych.pipeline}
CHAT = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"

TOKENIZERS = {  # by family: the arguments of train_tokenizer
    "encoder": {"model": "wordpiece", "vocab_size": 90},
    "encoder-decoder": {"model": "bpe", "vocab_size": 290},
    "decoder": {"model": "bpe", "vocab_size": 290},
}
SIZES = {
    "Bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "Bart": {
        "d_model": 16,
        **{f"{side}_layers": 1 for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 2 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 24 for side in ("encoder", "decoder")},
        "decoder_start_token_id": 2,
    },
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "Llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
}
FAMILY = {"Bert": "encoder", "Bart": "encoder-decoder", "GPT2": "decoder", "Llama": "decoder"}

WORDS = ["light", "dog"]
NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
ENTAILS = {0: "entailment", 1: "neutral", 2: "contradiction"}
PAIR = {"text": "the light is on", "text_pair": "a dog"}
MESSAGES = [{"role": "Kim", "content": "where is the cat"}]
GREEDY = {"max_new_tokens": 5, "do_sample": False}


@dataclass
class Case:
    """A task, a class of transformers, what is asked (one call each: an input and its options), and the model."""

    task: str
    model: str
    calls: list[tuple[Any, dict[str, Any]]]
    config: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        return next(name for name in SIZES if self.model.startswith(name))


def calls(*inputs: Any, **options: Any) -> list[tuple[Any, dict[str, Any]]]:
    return [(each, options) for each in inputs]


def labels(names: dict[int, str]) -> dict[str, Any]:
    return {"id2label": names, "label2id": {name: number for number, name in names.items()}}


CASES = {
    "fill-mask": Case(
        "fill-mask",
        "BertForMaskedLM",
        calls("the [MASK] is on", ["the [MASK] is on", "a big [MASK] was in Oslo"])
        + calls("the [MASK] is [MASK]", top_k=2)
        + calls("the [MASK] is on", targets=WORDS),
    ),
    "one of three labels": Case(
        "text-classification",
        "BertForSequenceClassification",
        calls(LINES[0], LINES[:3], PAIR)
        + calls(LINES, top_k=None, batch_size=4)
        + [
            call
            for name in ("sigmoid", "softmax", "none")
            for call in calls(LINES[0], function_to_apply=name, top_k=2)
        ],
        {"num_labels": 3},
    ),
    "several labels": Case(
        "text-classification",
        "BertForSequenceClassification",
        calls(LINES[0]) + calls(LINES[:2], top_k=None),
        {"num_labels": 3, "problem_type": "multi_label_classification"},
    ),
    "a number": Case(
        "text-classification",
        "BertForSequenceClassification",
        calls(LINES[0], LINES[:2]) + calls(LINES[0], function_to_apply="sigmoid"),
        {"num_labels": 1, "problem_type": "regression"},
    ),
    "one label without a type of problem": Case(
        "text-classification", "BertForSequenceClassification", calls(LINES[0]), {"num_labels": 1}
    ),
    "labels of an encoder-decoder": Case(
        "text-classification",
        "BartForSequenceClassification",
        calls(LINES[0]) + calls(LINES, top_k=None, batch_size=4),
    ),
    "labels of a decoder": Case(
        "text-classification",
        "GPT2ForSequenceClassification",
        calls(LINES[0]) + calls(LINES, top_k=None),
    ),
    **{
        f"labels that were never seen, {model}": Case(
            "zero-shot-classification",
            f"{model}ForSequenceClassification",
            calls(LINES[0], LINES[:2], candidate_labels=["house", "cat"])
            + calls(LINES[0], candidate_labels="house, cat", multi_label=True, hypothesis_template="a {}"),
            {**labels(ENTAILS)},
        )
        for model in ("Bert", "Bart")
    },
    **{
        f"words: {strategy}": Case(
            "token-classification",
            "BertForTokenClassification",
            calls("the lightness Oslowindow is Kim", LINES, aggregation_strategy=strategy)
            + calls(LINES[0], aggregation_strategy=strategy, ignore_labels=["O", "PER", "B-PER"]),
            labels(NAMES),
        )
        for strategy in ("none", "simple", "first", "average", "max")
    },
    "words of a long text": Case(
        "token-classification",
        "BertForTokenClassification",
        calls(" ".join(LINES), stride=2),
        labels(NAMES),
        {"aggregation_strategy": "first"},
    ),
    "words, by a decoder": Case(
        "token-classification", "GPT2ForTokenClassification", calls(*LINES[:2]), labels(NAMES)
    ),
    **{
        f"vectors, {model}": Case("feature-extraction", f"{model}Model", calls(LINES[0], LINES[:2]))
        for model in ("Bert", "GPT2", "Llama")
    },
    "a tensor of vectors": Case(
        "feature-extraction", "BertModel", calls(LINES[0]), made_with={"return_tensors": True}
    ),
    **{
        f"text, {model}": Case(
            "text-generation",
            f"{model}LMHeadModel" if model == "GPT2" else f"{model}ForCausalLM",
            calls("the light", ["the light", "where is the small"], **GREEDY)
            + calls("the light", **GREEDY, return_full_text=False)
            + calls(["the light", "where is the small"], **GREEDY, batch_size=2, return_full_text=False)
            + calls("the light", max_new_tokens=4, do_sample=False, num_beams=3, num_return_sequences=2)
            + calls("the light", **GREEDY, return_tensors=True)
            + calls(MESSAGES, [MESSAGES, MESSAGES], **GREEDY),
        )
        for model in ("GPT2", "Llama")
    },
}


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(LINES * 4, family=family, **TOKENIZERS[family])
    tokenizer.model_max_length = 12
    tokenizer.chat_template = CHAT
    return tokenizer


def make_theirs(case: Case, tokenizer: PreTrainedTokenizerFast) -> transformers.PreTrainedModel:
    """The model of transformers, with large random weights, so that different inputs have different answers."""
    torch.manual_seed(0)
    config_class = getattr(transformers, f"{case.architecture}Config")
    positions = "n_positions" if case.architecture == "GPT2" else "max_position_embeddings"
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = config_class(
        **{"vocab_size": len(tokenizer), positions: 40, **SIZES[case.architecture], **special, **case.config}
    )
    model = getattr(transformers, case.model)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.tie_weights()
    return model.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], dict[str, Path]]:
    """The directories of a case: of transformers' model, and of ours."""

    def save(case: Case) -> dict[str, Path]:
        folder = tmp_path_factory.mktemp("models")
        tokenizer = make_tokenizer(FAMILY[case.architecture])
        theirs = make_theirs(case, tokenizer)
        for name, model in {"theirs": theirs, "ours": triptych.from_hf(theirs)}.items():
            model.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
        return {"theirs": folder / "theirs", "ours": folder / "ours"}

    return save


def same(found: Any, expected: Any, path: str = "") -> None:
    """Equal, but for the last digits of the numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), path
        for key, value in expected.items():
            same(found[key], value, f"{path}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), path
        for number, value in enumerate(expected):
            same(found[number], value, f"{path}[{number}]")
    elif isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    elif isinstance(expected, (float, np.floating)):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5), path
    else:
        assert found == expected, path


# One for each task, and for each kind of label; the others are slow tests.
FAST = {
    *("fill-mask", "one of three labels", "several labels", "a number", "labels that were never seen, Bert"),
    *("words: first", "vectors, GPT2", "text, Llama"),
}
SORTED = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES]


@pytest.mark.parametrize("name", SORTED)
def test_our_class_answers_as_the_one_that_it_was_converted_from(name: str, saved):
    case = CASES[name]
    directories = saved(case)
    expected = None
    for library, make in MAKERS.items():
        for side, directory in directories.items():
            pipe = make(case.task, model=str(directory), **case.made_with)
            assert type(pipe.model).__module__.startswith("triptych." if side == "ours" else "transformers.")
            answers = [pipe(inputs, **options) for inputs, options in case.calls]
            if expected is None:
                expected = answers
            same(answers, expected, f"{library}, {side}")
    assert isinstance(expected, list)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_batches_change_nothing_with_a_decoder(make, saved):
    """Whose tokenizer pads on the left. transformers' GPT-2 counts that padding among its positions; ours does not."""
    pipe = make("text-classification", model=str(saved(CASES["labels of a decoder"])["ours"]), top_k=None)
    same(pipe(LINES, batch_size=4), pipe(LINES))


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_encoder_decoder_has_no_vectors_without_a_target(make, saved):
    """transformers' BART would read the source as the target; the vectors of its encoder come from `Embedder`."""
    pipe = make("feature-extraction", model=str(saved(Case("feature-extraction", "BartModel", []))["ours"]))
    with pytest.raises(ValueError, match="TriptychModel needs decoder_input_ids"):
        pipe(LINES[0])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_text_is_streamed(make, saved, capsys):
    """To a terminal and as an iterator; what is streamed is what the pipeline returns."""
    directory = str(saved(CASES["text, GPT2"])["ours"])
    pipe = make("text-generation", model=directory)
    [whole] = pipe(MESSAGES, **GREEDY, return_full_text=False)
    capsys.readouterr()
    pipe(MESSAGES, **GREEDY, streamer=TextStreamer(pipe.tokenizer, skip_prompt=True))
    assert capsys.readouterr().out.strip() == whole["generated_text"].strip() != ""
    streamer = TextIteratorStreamer(pipe.tokenizer, skip_prompt=True, timeout=30)
    pipe(MESSAGES, **GREEDY, streamer=streamer)
    assert "".join(streamer).strip() == whole["generated_text"].strip()

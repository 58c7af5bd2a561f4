"""Tiny random models of transformers, and inputs that both they and ours take."""

import copy
import functools
import importlib
import inspect
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

import triptych
from triptych.auto import AUTO_CLASSES
from triptych.conversion import known_architectures


def load_cases() -> list[Any]:
    """The cases of every module in cases/."""
    folder = Path(__file__).with_name("cases")
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "case")
    modules = [importlib.import_module(f".cases.{name}", __package__) for name in names]
    return [case for module in modules for case in module.CASES]


CASES = load_cases()
LENGTHS, TARGETS, CHOICES, END = (7, 4, 5), (5, 3, 6), 2, 2
LABELS = ("labels", "next_sentence_label", "start_positions", "end_positions")


def make_config(case: Any, name: str = "") -> Any:
    spans = {"num_labels": 2} if "ForQuestionAnswering" in name else {}
    return getattr(transformers, case.config)(**{**case.fields, **spans})


def model_type(case: Any) -> str:
    return getattr(transformers, case.config).model_type


def owner(model: PreTrainedModel, name: str) -> torch.nn.Module:
    """The module that a parameter belongs to."""
    return model.get_submodule(name.rpartition(".")[0])


def randomise(model: PreTrainedModel) -> PreTrainedModel:
    """Every number that a checkpoint can hold is random; norms stay near one, so that the signal lives."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "Sinusoid" not in type(owner(model, name)).__name__:
                gain = parameter.ndim == 1 and name.endswith("weight")
                parameter.normal_(std=0.3).add_(float(gain))
        for name, buffer in model.named_buffers():
            if name == "final_logits_bias":
                buffer.normal_()
        for name, unused in model.named_parameters():  # untied, BERT's has two of them, and computes with one
            if name in ("cls.predictions.bias", "lm_head.bias") and hasattr(used := owner(model, name), "decoder"):
                unused.copy_(used.decoder.bias)
            if name.endswith("shared.weight"):  # untied, BART's two stacks compute with their own
                unused.copy_(model.get_parameter(f"{name.removesuffix('shared.weight')}encoder.embed_tokens.weight"))
    return model.eval()


def untie(model: PreTrainedModel) -> PreTrainedModel:
    """T5 1.1 and mT5 are published with their own map to the vocabulary, and load so; their configurations tie it."""
    tied = getattr(model.config, "scale_decoder_outputs", model.config.model_type != "mt5")
    if not tied and hasattr(model, "lm_head"):
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        model.all_tied_weights_keys.pop("lm_head.weight")
    return model


def make_theirs(case: Any, name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return randomise(untie(getattr(transformers, name)(make_config(case, name))))


def check_weights(one: PreTrainedModel, other: PreTrainedModel) -> None:
    """Bit for bit, in every tensor that a checkpoint can hold."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def tied(model: PreTrainedModel) -> set[frozenset[str]]:
    """Names of parameters that are one."""
    owners: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), set()).add(name)
    return {frozenset(names) for names in owners.values() if len(names) > 1}


def loader(model: PreTrainedModel) -> Any:
    """The Auto class that finds a class of ours, as users load it; a class of theirs itself."""
    for auto_name, classes in AUTO_CLASSES.items():
        if type(model) in classes:
            return getattr(transformers, auto_name)
    return type(model)


def through_the_disk(model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    """What is loaded from what was saved: the same class, every tensor, ties included, and no key more or less."""
    model.save_pretrained(directory)
    loaded, report = loader(model).from_pretrained(directory, output_loading_info=True)
    assert not any(report.values()), report
    assert type(loaded) is type(model)
    check_weights(loaded, model)
    assert tied(loaded) == tied(model)
    return loaded.eval()


VARIANTS = {
    f"{case.name} {name}": (case, name)
    for case in CASES
    for name in case.classes or [head for a in known_architectures(model_type=model_type(case)) for head in a.heads]
}
GENERATIVE = [variant for variant, (_, name) in VARIANTS.items() if getattr(transformers, name).can_generate()]
ONE_OF_EACH = {model_type(case): variant for variant, (case, _) in reversed(VARIANTS.items())}.values()
WITH_WORDS = ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForConditionalGeneration", "MTModel")
SPEAKERS = [variant for variant in VARIANTS if ":" not in variant and variant.endswith(WITH_WORDS)]


def first_shapes_fast(variants: Iterable[str]) -> list[Any]:
    """Parameters of a fixture: the first shape of an architecture is fast, the others (with a colon) are slow."""
    return [pytest.param(variant, marks=[pytest.mark.slow] if ":" in variant else []) for variant in variants]


@functools.cache
def made(variant: str) -> PreTrainedModel:
    theirs = make_theirs(*VARIANTS[variant])
    theirs.variant = variant
    return theirs


@functools.cache
def received(variant: str) -> PreTrainedModel:
    with tempfile.TemporaryDirectory() as directory:
        return through_the_disk(triptych.from_hf(made(variant)), Path(directory))


@functools.cache
def returned(variant: str) -> PreTrainedModel:
    with tempfile.TemporaryDirectory() as directory:
        return through_the_disk(triptych.to_hf(received(variant)), Path(directory))


@pytest.fixture(params=first_shapes_fast(VARIANTS))
def theirs(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A random model of every class of every case."""
    return copy.deepcopy(made(request.param))


@pytest.fixture(params=ONE_OF_EACH)
def one_of_each(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A random model of each architecture."""
    return copy.deepcopy(made(request.param))


@pytest.fixture(params=SPEAKERS)
def speaker(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A random model of every architecture in its first shape, with a map to the vocabulary."""
    return copy.deepcopy(made(request.param))


@pytest.fixture(params=first_shapes_fast(GENERATIVE))
def generator(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A random model of every class that generates."""
    return copy.deepcopy(made(request.param))


@pytest.fixture
def ours_of() -> Callable[[PreTrainedModel], PreTrainedModel]:
    """What `from_hf` makes of one of these models, saved and loaded."""
    return lambda theirs: copy.deepcopy(received(theirs.variant))


@pytest.fixture
def back_of() -> Callable[[PreTrainedModel], PreTrainedModel]:
    """What `to_hf` makes of that, saved and loaded."""
    return lambda theirs: copy.deepcopy(returned(theirs.variant))


@pytest.fixture
def assert_equal_weights() -> Callable[[PreTrainedModel, PreTrainedModel], None]:
    return check_weights


@pytest.fixture
def ties() -> Callable[[PreTrainedModel], set[frozenset[str]]]:
    return tied


@pytest.fixture
def reload(tmp_path: Path) -> Callable[[PreTrainedModel], PreTrainedModel]:
    """A model, saved and loaded by its own class (ours by an Auto class), strictly."""
    return lambda model: through_the_disk(model, Path(tempfile.mkdtemp(dir=tmp_path)))


@pytest.fixture
def make_batch() -> Callable[..., dict[str, Any]]:
    """Rows of different lengths, padded on one side, with all labels that a class takes."""

    def make(model: PreTrainedModel, side: str = "right") -> dict[str, Any]:
        generator = torch.Generator().manual_seed(1)
        rows, length = len(LENGTHS), max(LENGTHS)
        shape = (rows, CHOICES, length) if "MultipleChoice" in type(model).__name__ else (rows, length)
        mask = (torch.arange(length) < torch.tensor(LENGTHS)[:, None]).long()
        if side == "left":
            mask = mask.flip(-1)
        if len(shape) == 3:
            mask = mask[:, None].repeat(1, CHOICES, 1)
        vocabulary = model.config.vocab_size
        pad = model.config.pad_token_id or 0
        ids = torch.randint(5, vocabulary, shape, generator=generator).masked_fill(mask == 0, pad)
        takes = inspect.signature(model.forward).parameters
        batch: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if model.config.is_encoder_decoder and "Encoder" not in type(model).__name__:
            if "ForSequence" in type(model).__name__:  # the last end token is classified
                last = mask.long().mul(torch.arange(length)).argmax(-1)
                ids[torch.arange(rows), last] = END
            else:
                targets = torch.randint(5, vocabulary, (rows, max(TARGETS)), generator=generator)
                batch["decoder_input_ids"] = targets
        if getattr(model.config, "type_vocab_size", 0) > 1 and "token_type_ids" in takes:
            batch["token_type_ids"] = (torch.arange(length) > 2).long().expand(shape).contiguous()
        number = torch.arange(rows)
        name = type(model).__name__
        if "start_positions" in takes:
            batch |= {"start_positions": number, "end_positions": number + 1}
        if "next_sentence_label" in takes:
            batch["next_sentence_label"] = number % 2
        if "ForSequence" in name:
            batch["labels"] = number % model.config.num_labels
        elif "ForNextSentence" in name:
            batch["labels"] = number % 2
        elif "ForMultipleChoice" in name:
            batch["labels"] = number % CHOICES
        elif "ForToken" in name:
            batch["labels"] = (ids % model.config.num_labels).masked_fill(mask == 0, -100)
        elif "decoder_input_ids" in batch and "labels" in takes:
            lengths = torch.tensor(TARGETS)[:, None]
            batch["labels"] = batch["decoder_input_ids"].masked_fill(torch.arange(max(TARGETS)) >= lengths, -100)
        elif "labels" in takes:
            after_padding = mask.diff(prepend=mask[:, :1]) == 1  # what a decoder would be asked for at the padding
            batch["labels"] = ids.masked_fill((mask == 0) | after_padding, -100)
        return batch

    return make


@pytest.fixture
def same_positions() -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """The inputs for theirs and for ours, with positions counted alike.

    Ours count from the first token that is not padding. Theirs do so only where they are told, if they can be told;
    else ours are told to count as they do.
    """

    def align(model: PreTrainedModel, batch: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        mask = batch["attention_mask"]
        takes = inspect.signature(model.forward).parameters
        counts_itself = getattr(model.config, "model_type", "") in COUNT_PADDING_OUT
        counted = (mask.cumsum(-1) - 1).clamp(min=0)
        if counts_itself:
            if "start_positions" in batch and "position_ids" in takes:  # whose loss reads the logits of padding, too
                return {**batch, "position_ids": counted + model.config.pad_token_id + 1}, batch
            return batch, batch
        if "position_ids" in takes:
            if type(model).__name__ == "DistilBertForMultipleChoice":  # which takes one row for each choice
                counted = counted.flatten(0, 1)
            # The loss of spans reads the logits of padding, too: there ours are told what theirs are told.
            ours = {**batch, "position_ids": counted} if "start_positions" in batch else batch
            return {**batch, "position_ids": counted}, ours
        return batch, {**batch, "position_ids": torch.arange(mask.shape[-1]).expand(mask.shape)}

    return align


# Architectures that derive their positions from the padding, as ours do; and one that has none.
COUNT_PADDING_OUT = {"roberta", "xlm-roberta", "camembert", "fsmt", "m2m_100", "t5"}


def visible(values: Tensor, mask: Tensor | None) -> Tensor:
    """The rows of (B, T, …) that are no padding."""
    return values if mask is None else values[mask.bool()]


@pytest.fixture
def assert_close() -> Callable[..., None]:
    """Within 1e-5 of the scale of what is expected."""

    def check(actual: Tensor, expected: Tensor, what: str = "") -> None:
        assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        error, scale = (actual - expected).abs().max().item(), max(expected.abs().max().item(), 1.0)
        assert error <= 1e-5 * scale, f"{what}: off by {error} at scale {scale}"

    return check


@pytest.fixture
def visible_part() -> Callable[..., Tensor]:
    return visible

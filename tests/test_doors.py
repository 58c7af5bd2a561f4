"""Every way to load a checkpoint refuses a pickle by name, without opening it, and a damaged file."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import triptych
from tiny import FAMILIES, make_model, model_class, number_tokenizer
from triptych.commands import convert, translate
from triptych.conversion.directories import convert_directory
from triptych.training.model_source import load_checkpoint
from triptych.training.run_directory.weights import load_weights

AUTO_CLASSES = {
    "encoder_decoder": transformers.AutoModelForSeq2SeqLM,
    "encoder": transformers.AutoModelForMaskedLM,
    "decoder": transformers.AutoModelForCausalLM,
}
TASKS = {"encoder_decoder": "translation", "encoder": "fill-mask", "decoder": "text-generation"}
Door = Callable[[str, Path], Any]
OURS: dict[str, Door] = {
    "class": lambda family, path: model_class(family).from_pretrained(path),
    "body": lambda family, path: transformers.AutoModel.from_pretrained(path),
    "auto class": lambda family, path: AUTO_CLASSES[family].from_pretrained(path),
    "asked for": lambda family, path: model_class(family).from_pretrained(path, use_safetensors=False),
    "pipeline": lambda family, path: triptych.pipeline(TASKS[family], path),
    "pipeline, asked for": lambda family, path: triptych.pipeline(
        TASKS[family], path, model_kwargs={"use_safetensors": False}
    ),
    "conversion": lambda family, path: convert_directory(path, path.with_name("converted"), to="hf"),
    "command convert": lambda family, path: convert.main([str(path), str(path.with_name("out")), "--to", "hf"]),
    "training": lambda family, path: load_checkpoint(str(path), model_class(family), {}),
    "resuming": lambda family, path: load_weights(make_model(family), path),
}
PUBLIC: dict[str, Door] = {
    "from_hf": lambda family, path: triptych.from_hf(path),
    "asked for": lambda family, path: triptych.from_hf(path, use_safetensors=False),
    "pipeline": lambda family, path: triptych.pipeline("translation", path),
    "command convert": lambda family, path: convert.main([str(path), str(path.with_name("out"))]),
    "command translate": lambda family, path: translate.main([str(path), "a"]),
    "training": lambda family, path: load_checkpoint(str(path), model_class("encoder_decoder"), {}),
}


class Harmful:
    """What makes a directory when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        make_model(family).save_pretrained(directory / family, code=False)
        number_tokenizer().save_pretrained(directory / family)
    sizes = {f"{side}_{n}": v for side in ("encoder", "decoder") for n, v in (("layers", 1), ("attention_heads", 2))}
    config = transformers.MarianConfig(
        vocab_size=97, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32, pad_token_id=0,
        eos_token_id=3, decoder_start_token_id=0, forced_eos_token_id=None, **sizes,
    )  # fmt: skip
    transformers.MarianMTModel(config).save_pretrained(directory / "marian")
    number_tokenizer().save_pretrained(directory / "marian")
    return directory


@pytest.fixture
def copied(checkpoints, tmp_path):
    def copy(name: str) -> Path:
        (tmp_path / "model").mkdir()
        for file in (checkpoints / name).iterdir():
            (tmp_path / "model" / file.name).write_bytes(file.read_bytes())
        return tmp_path / "model"

    return copy


def one_file(directory: Path, content: bytes) -> str:
    (directory / "pytorch_model.bin").write_bytes(content)
    return "pytorch_model.bin"


def plant_behind(index: str, directory: Path, file: str, content: bytes) -> None:
    """A file with this content, which an index names for every tensor."""
    places = dict.fromkeys(load_file(directory / "model.safetensors"), file)
    (directory / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (directory / file).write_bytes(content)


def several_files(directory: Path, content: bytes) -> str:
    plant_behind("pytorch_model.bin.index.json", directory, "pytorch_model-00001-of-00001.bin", content)
    return "pytorch_model"


def behind_an_index(directory: Path, content: bytes) -> str:
    plant_behind("model.safetensors.index.json", directory, "weights.bin", content)
    return "weights.bin"


PLANTS = [one_file, *(pytest.param(plant, marks=pytest.mark.slow) for plant in (several_files, behind_an_index))]


def check_refused(door: Door, family: str, directory: Path, plant: Callable[[Path, bytes], str]) -> None:
    marker = directory.with_name("code-ran")
    name = plant(directory, pickle.dumps(Harmful(marker)))
    (directory / "model.safetensors").unlink()
    with pytest.raises((ValueError, OSError)) as raised:
        door(family, directory)
    assert name in str(raised.value) or "use_safetensors=False" in str(raised.value)
    assert not marker.exists()


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("door", OURS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_pickle_is_refused_by_name(family, door, plant, copied):
    check_refused(OURS[door], family, copied(family), plant)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("door", PUBLIC)
def test_a_pickle_of_a_public_architecture_is_refused_by_name(door, plant, copied):
    check_refused(PUBLIC[door], "encoder_decoder", copied("marian"), plant)


def test_a_pickle_beside_weights_in_safetensors_is_not_opened(copied, tmp_path):
    directory = copied("decoder")
    for name in ("pytorch_model.bin", "optimizer.bin", "training_args.bin", "scheduler.pt", "tokenizer.pkl"):
        (directory / name).write_bytes(pickle.dumps(Harmful(tmp_path / "code-ran")))
    model = model_class("decoder").from_pretrained(directory)
    assert triptych.pipeline("text-generation", str(directory)).model is not model
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("file", ["tokenizer_config.json", "config.json"])
@pytest.mark.parametrize("name", ["AutoModel", "RagTokenizer", "PreTrainedModel", "os.system", "AutoTokenizer"])
def test_what_is_no_tokenizer_is_not_taken_for_one(file, name, copied):
    directory = copied("encoder_decoder")
    settings = json.loads((directory / file).read_text())
    (directory / file).write_text(json.dumps(settings | {"tokenizer_class": name}))
    for load in (
        triptych.tokenization.load_tokenizers,
        lambda path: triptych.pipeline("feature-extraction", str(path)),
        lambda path: triptych.pipeline("translation", str(path)),
    ):
        with pytest.raises(ValueError, match=f"{file} is damaged .tokenizer_class='{name}' is not the name of a"):
            load(directory)


def test_a_chat_template_is_rendered_in_a_sandbox(copied):
    directory = copied("decoder")
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    for template in ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append.__globals__ }}"):
        (directory / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
        tokenizer, _ = triptych.tokenization.load_tokenizers(directory)
        with pytest.raises(Exception, match="is unsafe"):
            tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)


def test_weights_that_are_not_finite_are_loaded_as_they_are(copied):
    """They are weights like others: a training that diverged can be looked at."""
    directory = copied("decoder")
    model = model_class("decoder").from_pretrained(directory)
    with torch.no_grad():
        model.model.embed_tokens.weight[0, 0] = float("nan")
    model.save_pretrained(directory)
    assert model_class("decoder").from_pretrained(directory).model.embed_tokens.weight[0, 0].isnan()

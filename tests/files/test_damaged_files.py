"""A damaged file is named, with the remedy."""

import json

import pytest
import torch
from safetensors.torch import save_file

from triptych.files import check_model_files, read_json, weight_files, write_json


@pytest.fixture
def model_directory(tmp_path):
    directory = tmp_path / "model[1]"
    directory.mkdir()
    write_json(directory / "config.json", {"model_type": "triptych"})
    write_json(directory / "generation_config.json", {"num_beams": 4})
    for number in (1, 2):
        save_file({f"w{number}": torch.ones(3)}, directory / f"model-{number:05}-of-00002.safetensors")
    places = {f"w{number}": f"model-{number:05}-of-00002.safetensors" for number in (1, 2)}
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return directory


DAMAGES = {
    "half": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "list": lambda raw: b"[]",
    "null": lambda raw: b"null",
    "not utf-8": lambda raw: b"\xff\xfe" + raw,
    "lying length": lambda raw: (2**60).to_bytes(8, "little") + raw[8:],
    "deep": lambda raw: b"[" * 100_000,
    "cut at the end": lambda raw: raw[:-3],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    ["config.json", "generation_config.json", "model.safetensors.index.json", "model-00002-of-00002.safetensors"],
)
def test_a_damaged_file_is_named(model_directory, name, damage):
    check_model_files(model_directory)
    path = model_directory / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"is damaged \(.*\); copy or download it again$") as raised:
        check_model_files(model_directory)
    assert str(raised.value).startswith(str(path))


def test_weights_are_what_the_index_names(model_directory):
    save_file({"w1": torch.zeros(3)}, model_directory / "model_ema.safetensors")
    save_file({"w1": torch.zeros(3)}, model_directory / "model-00003-of-00003.safetensors")
    assert [file.name[:11] for file in weight_files(model_directory)] == ["model-00001", "model-00002"]
    (model_directory / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00001-of-00002\.safetensors, which"):
        weight_files(model_directory)
    save_file({"w1": torch.ones(3)}, model_directory / "model.safetensors")
    assert [file.name for file in weight_files(model_directory)] == ["model.safetensors"]


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "pytorch_model.bin", 3])
def test_an_index_reaches_no_other_file(model_directory, name):
    write_json(model_directory / "model.safetensors.index.json", {"weight_map": {"w1": name}})
    with pytest.raises(ValueError, match="as a file of weights"):
        weight_files(model_directory)


def test_an_object_is_read_as_it_is(tmp_path):
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ä": [1, None]}
    assert json.loads((tmp_path / "a.json").read_text()) == {"ä": [1, None]}

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


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors.index.json"])
def test_a_name_that_is_given_twice_is_named(model_directory, name):
    path = model_directory / name
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(ValueError, match=f"{name} is damaged .it gives 'b' twice"):
        check_model_files(model_directory)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"vocab_size": 10**12}, "vocab_size=1000000000000 is more than 2147483647"),
        ({"d_model": -(10**12)}, "d_model=-1000000000000 is less than 0"),
        ({"n_layer": 10_001}, "n_layer=10001 is more than 10000"),
        ({"encoder": {"sizes": [1, {"num_hidden_layers": 10**400}]}}, "num_hidden_layers=1000"),
        ({"num_layers": 300}, "num_layers=300, but the weights are 2 tensors"),
        ({"id2label": {"9" * 5000: "a"}}, "id2label="),
        ({"id2label": {"0": ["a"]}}, "id2label="),
        ({"architectures": "../x"}, "architectures="),
        ({"model_type": ["gpt2"]}, "model_type="),
        ({"transformers_weights": "../model.safetensors"}, "transformers_weights="),
        ({"transformers_weights": "adapter_model.bin"}, "transformers_weights="),
        ({"quantization_config": 5}, "quantization_config=5"),
    ],
)
def test_a_value_that_no_model_has_is_named(model_directory, fields, reason):
    write_json(model_directory / "config.json", {"rope_theta": 10**12, "num_layers": 256} | fields)
    with pytest.raises(ValueError, match=r"config\.json is damaged \(") as raised:
        check_model_files(model_directory)
    assert reason in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_base_of_a_rotation_and_the_layers_of_a_small_model_are_no_mistakes(model_directory):
    write_json(model_directory / "config.json", {"rope_theta": 10**12, "num_layers": 256, "layers": None})
    check_model_files(model_directory)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "tf.ckpt"])
def test_weights_that_are_pickled_are_refused_by_name(model_directory, name):
    (model_directory / name).write_bytes(b"")
    check_model_files(model_directory)  # a pickle beside weights in safetensors is not opened
    for file in model_directory.glob("*.safetensors*"):
        file.unlink()
    for check in (check_model_files, weight_files):
        with pytest.raises(ValueError, match=f"{name} is a pickle; only weights in safetensors are read"):
            check(model_directory)


def test_an_adapter_that_is_pickled_is_refused_by_name(model_directory):
    (model_directory / "adapter_model.bin").write_bytes(b"")
    check_model_files(model_directory)
    write_json(model_directory / "adapter_config.json", {"base_model_name_or_path": "me/mine"})
    with pytest.raises(ValueError, match=r"adapter_model\.bin is a pickle"):
        check_model_files(model_directory)
    save_file({"w": torch.ones(1)}, model_directory / "adapter_model.safetensors")
    check_model_files(model_directory)


@pytest.mark.parametrize("metadata", [[], 5, None])
def test_an_index_with_other_metadata_is_named(model_directory, metadata):
    index = model_directory / "model.safetensors.index.json"
    write_json(index, read_json(index) | {"metadata": metadata})
    with pytest.raises(ValueError, match="its metadata are not an object"):
        check_model_files(model_directory)

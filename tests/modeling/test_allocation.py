"""A small file cannot make a program take a large memory: sizes of config.json are compared with the weights."""

import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import triptych
from copies import copy_with
from tiny import FAMILIES, make_config, make_model, model_class
from triptych.modeling.allocation import ALWAYS_ALLOWED, check_allocation

HUGE = {
    "encoder_decoder": [{"vocab_size": 2**28}, {"intermediate_size": 2**24}, {"encoder_layers": 9_999}],
    "encoder": [{"type_vocab_size": 2**28}, {"max_position_embeddings": 2**28}, {"num_hidden_layers": 9_999}],
    "decoder": [{"head_dim": 2**20}, {"hidden_size": 2**18}, {"num_hidden_layers": 9_999}],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directory of a model of each family, which holds the weights in one file."""
    directory = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        make_model(family).save_pretrained(directory / family, code=False)
    return directory


@pytest.fixture
def with_fields(saved, tmp_path):
    """A copy of a directory whose config.json says something else."""

    return lambda family, fields: copy_with(saved / family, tmp_path, fields)


@pytest.mark.parametrize(("family", "fields"), [(family, fields) for family in HUGE for fields in HUGE[family]])
def test_sizes_that_the_weights_do_not_have_are_refused_before_memory_is_taken(family, fields, with_fields):
    directory, began = with_fields(family, fields), time.process_time()
    for load in (model_class(family).from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(ValueError, match=r"config\.json") as raised:
            load(directory)
        (name,) = fields
        assert "the files of weights hold" in str(raised.value) or f"{name}=" in str(raised.value)
    assert time.process_time() - began < 5


def test_the_message_names_the_tensor_that_differs_most(with_fields):
    with pytest.raises(ValueError, match=r"model\.embed_tokens\.weight would be \(268435456, \d+\)") as raised:
        model_class("decoder").from_pretrained(with_fields("decoder", {"vocab_size": 2**28}))
    assert "in the files it is (97, " in str(raised.value)


def test_files_without_tensors_explain_nothing(with_fields):
    directory = with_fields("decoder", {"vocab_size": 2**24})
    save_file({}, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="the files of weights hold 0"):
        model_class("decoder").from_pretrained(directory)


def test_weights_of_several_processes_are_compared_too(with_fields):
    """transformers reads files of these names in another way, which takes the memory first."""
    directory = with_fields("decoder", {"vocab_size": 2**28})
    (directory / "model.safetensors").rename(directory / "shard-00000-model-00001-of-00001.safetensors")
    with pytest.raises(ValueError, match=r"config\.json describes a model of"):
        model_class("decoder").from_pretrained(directory)


def test_a_new_head_and_a_larger_vocabulary_are_allowed(with_fields):
    directory = with_fields("encoder", {})
    model = triptych.TriptychEncoderForSequenceClassification.from_pretrained(directory, num_labels=1000)
    assert model.config.num_labels == 1000
    larger = {"vocab_size": 30_000, "ignore_mismatched_sizes": True}
    assert model_class("encoder").from_pretrained(directory, **larger).config.vocab_size == 30_000


def test_a_model_that_a_program_makes_itself_may_have_any_size():
    config = make_config("decoder", vocab_size=2**28)
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    assert sum(p.numel() for p in model.parameters()) > ALWAYS_ALLOWED
    check_allocation("here", model, None)


def test_weights_on_a_device_are_not_counted(saved):
    """The memory of an adapter's model is taken already, when the adapter is loaded."""
    model = make_model("decoder")
    check_allocation("here", model, [])
    file = saved / "decoder" / "model.safetensors"
    with torch.device("meta"):
        meta = model_class("decoder")(make_config("decoder"))
    check_allocation("here", meta, [file])
    assert sum(p.numel() for p in meta.parameters()) <= 2 * sum(t.numel() for t in load_file(file).values())

"""Weights that wait on the CPU or on disk until their module is called: the outputs are the same."""

import re

import pytest
import torch
from accelerate import cpu_offload

VARIANTS = {
    "default": {},
    "untied": {"tie_word_embeddings": False},
    "segments": {"type_vocab_size": 3},
    "rotary": {"positions": "rotary", "residual": "parallel"},
    "relative": {"positions": "relative"},
}


def results(model, batch):
    """Every number of a forward pass with a loss, and what the model generates if it can."""
    with torch.no_grad():
        outputs = model(**batch)
        tensors = {name: value for name, value in outputs.items() if torch.is_tensor(value)}
        if model.can_generate():
            ids = batch["input_ids"][:2]
            tensors["tokens"] = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
    return tensors


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def test_on_the_cpu_until_called(make_model, make_batch, head):
    model, batch = make_model(head), make_batch(head)
    expected = results(model, batch)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert_same(results(model, batch), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_some_on_disk_by_the_automatic_map(make_model, make_batch, tmp_path, language_model, variant):
    model, batch = make_model(language_model, **VARIANTS[variant]), make_batch(language_model)
    model.save_pretrained(tmp_path)
    size = sum(parameter.nbytes for parameter in model.parameters())
    for share in (0.3, 0.5, 0.9):
        memory = {"cpu": int(share * size)}
        offload = {"device_map": "auto", "max_memory": memory, "offload_folder": tmp_path / "offload"}
        parts = type(model).from_pretrained(tmp_path, **offload)
        assert "disk" in parts.hf_device_map.values()
        assert not [name for name in parts.hf_device_map if re.search(r"layers\.\d+\.", name)], "a layer is split"
        assert_same(results(parts, batch), results(model, batch))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_on_disk(make_model, make_batch, tmp_path, language_model, variant):
    model, batch = make_model(language_model, **VARIANTS[variant]), make_batch(language_model)
    model.save_pretrained(tmp_path)
    everything = {name: "disk" for name, _ in model.named_children()}
    offloaded = type(model).from_pretrained(tmp_path, device_map=everything, offload_folder=tmp_path / "offload")
    assert all(parameter.is_meta for parameter in offloaded.parameters())
    assert_same(results(offloaded, batch), results(model, batch))

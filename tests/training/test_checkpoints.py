import json
import random

import numpy
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn

from triptych import TriptychEncoderConfig, TriptychEncoderModel
from triptych.training import create_optimizer
from triptych.training.run_directory.checkpoints import last_checkpoint
from triptych.training.run_directory.directory import start_run
from triptych.training.run_directory.random_numbers import random_state, set_random_state
from triptych.training.run_directory.record import claim
from triptych.training.run_directory.weights import load_weights
from triptych.training.sharding import WholeModel

CPU = torch.device("cpu")


def draw():
    return [random.random(), random.gauss(0, 1), numpy.random.rand(), numpy.random.randn(), torch.rand(1).item()]


@pytest.mark.parametrize("half_used", [False, True])
def test_random_numbers_go_on_from_a_file(tmp_path, half_used):
    if half_used:  # both generators make normal numbers in pairs and keep the second
        random.gauss(0, 1)
        numpy.random.randn()
    save_file(random_state(CPU), tmp_path / "state.safetensors")
    expected = draw()
    draw()
    set_random_state(load_file(tmp_path / "state.safetensors"), CPU)
    assert draw() == expected


def stepped(model, optimizer, times):
    for _ in range(times):
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def prepared(model, optimizer):
    weights = WholeModel(model, Accelerator(cpu=True))
    weights.prepare(optimizer, max_grad_norm=0.0)
    return weights


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_optimizer_goes_on_from_tensors(name):
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    one = create_optimizer(first, name, learning_rate=0.1)
    two = create_optimizer(second, name, learning_rate=0.1)
    stepped(first, one, 3)
    second.load_state_dict(first.state_dict())
    state = prepared(first, one).optimizer_tensors()
    prepared(second, two).load_optimizer_tensors({name: tensor.clone() for name, tensor in state.items()})
    stepped(first, one, 2)
    stepped(second, two, 2)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_optimizer_of_another_model():
    model, other = nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2))
    optimizer = create_optimizer(model, learning_rate=0.1)
    stepped(model, optimizer, 1)
    with pytest.raises(ValueError, match="another model: it has 'bias'"):
        prepared(other, create_optimizer(other)).load_optimizer_tensors(prepared(model, optimizer).optimizer_tensors())


def test_last_checkpoint_is_the_greatest_number_that_is_complete(tmp_path):
    start_run(tmp_path, {}, {})
    names = ("checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-best", "checkpoint-13")
    claim(tmp_path, *names)
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-12", "checkpoint-013"):
        (tmp_path / name / "training_state").mkdir(parents=True)
        (tmp_path / name / "training_state/state.json").touch()
    for name in ("checkpoint-11", "checkpoint-12.tmp/training_state", "checkpoint-best"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "checkpoint-13").symlink_to(tmp_path / "checkpoint-9")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


@pytest.mark.parametrize("changes_config", [False, True])
def test_weights_of_other_sizes_are_named(tmp_path, changes_config):
    """The checkpoint is another model's, or its config.json alone is."""
    sizes = {"num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 8, "intermediate_size": 8}
    small, large = (TriptychEncoderModel(TriptychEncoderConfig(hidden_size=n, **sizes)) for n in (16, 32))
    small.save_pretrained(tmp_path)
    if changes_config:
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 32, "head_dim": 16}))
    reason = "other sizes than config.json says" if changes_config else "are those of another model"
    with pytest.raises(ValueError, match=reason) as error:
        load_weights(large, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)

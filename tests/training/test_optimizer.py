import pytest
import torch
from torch import nn

from triptych.training import create_optimizer


def test_one_step_by_hand():
    """Kingma & Ba (2015), algorithm 1, with the paper's betas and epsilon."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = create_optimizer(model, learning_rate=0.1)
    for gradient in (0.5, -0.25):
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    mean, square = 0.9 * 0.1 * 0.5 + 0.1 * -0.25, 0.98 * 0.02 * 0.25 + 0.02 * 0.0625
    second = 0.1 * (mean / (1 - 0.9**2)) / ((square / (1 - 0.98**2)) ** 0.5 + 1e-9)
    assert model.weight.item() == pytest.approx(2.0 - 0.1 - second, rel=1e-6)


def test_only_matrices_decay():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    decayed, free = create_optimizer(model, weight_decay=0.1).param_groups
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 3
    assert free["weight_decay"] == 0


def test_fused_where_there_is_a_kernel_and_not_elsewhere():
    assert create_optimizer(nn.Linear(2, 2)).defaults["fused"]
    complex_numbers = create_optimizer(nn.Linear(2, 2, dtype=torch.complex64))
    assert not complex_numbers.defaults["fused"]


def test_tied_weights_are_updated_once():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    assert sum(len(group["params"]) for group in create_optimizer(model).param_groups) == 1


def test_mistakes():
    with pytest.raises(ValueError, match="optimizer='sgd' is not known; choose one of adam, adamw, muon"):
        create_optimizer(nn.Linear(2, 2), "sgd")
    with pytest.raises(ValueError, match="nothing to train"):
        create_optimizer(nn.Linear(2, 2).requires_grad_(False))

import pytest
import torch
from torch import nn

from triptych import TriptychConfig, TriptychForConditionalGeneration
from triptych.training import create_optimizer
from triptych.training.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 24), (2, 24, 6), (1, 1, 5)])
def test_orthogonalized_matrices_keep_their_directions_and_lose_their_sizes(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator) * torch.tensor([1e-3, 1.0, 50.0])[: shape[0], None, None]
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    sizes = u.mT @ orthogonalize(matrices, iterations=8) @ vh.mT
    diagonal = sizes.diagonal(dim1=-2, dim2=-1)
    assert (diagonal > 0.6).all()
    assert (diagonal < 1.3).all()
    torch.testing.assert_close(sizes, torch.diag_embed(diagonal), atol=1e-4, rtol=0)


def test_a_gradient_of_zero_moves_nothing():
    assert not orthogonalize(torch.zeros(2, 4, 3)).any()


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
def test_updates_equal_torch(shape):
    """torch's iterates in bfloat16, hence the tolerance."""
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(shape, generator=generator), torch.randn(5, *shape, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 0.02, "weight_decay": 0.1}
    optimizers = [
        Muon([{"params": [ours], "orthogonal": True}], **options),
        torch.optim.Muon([theirs], momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw", **options),
    ]
    for gradient in gradients:
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved


def test_what_is_no_matrix_between_hidden_states_follows_adamw():
    """Embeddings, the map to the vocabulary, norms and biases."""
    torch.manual_seed(0)
    config = TriptychConfig.from_preset("tiny", tie_word_embeddings=False, dropout=0.0, label_smoothing=0.0)
    models = [TriptychForConditionalGeneration(config) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        create_optimizer(model, name, learning_rate=1e-2, weight_decay=0.1)
        for model, name in zip(models, ("muon", "adamw"), strict=True)
    ]
    ids = torch.arange(5, 25).view(2, 10)
    for model, optimizer in zip(models, optimizers, strict=True):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    other = dict(models[1].named_parameters())
    for name, parameter in models[0].named_parameters():
        rows = "embed" in name or "lm_head" in name
        assert torch.equal(parameter, other[name]) == (rows or parameter.ndim < 2), name


def test_orthogonal_groups_hold_each_matrix_once():
    model = TriptychForConditionalGeneration(TriptychConfig.from_preset("tiny"))
    groups = create_optimizer(model, "muon").param_groups
    orthogonal = [p for group in groups if group["orthogonal"] for p in group["params"]]
    everything = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in everything}) == len(everything) == len(list(model.parameters()))
    assert {id(p) for p in orthogonal} == {id(m.weight) for m in model.model.modules() if isinstance(m, nn.Linear)}


def test_closure_is_called_with_gradients():
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([{"params": [parameter], "orthogonal": True}], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert not torch.equal(parameter, torch.ones(2, 2))

"""Orthogonalised steps: their singular values, their size, and that they descend."""

import torch
from torch import nn

from clrface_core.training.muon import Muon, optimiser, orthogonalised


def test_orthogonalised_pulls_singular_values_to_one_and_keeps_the_directions() -> None:
    torch.manual_seed(0)
    for shape in ((24, 60), (60, 24), (32, 32)):
        matrix = torch.randn(shape)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        result = orthogonalised(matrix)
        moved = torch.linalg.svdvals(result)
        large = int((values > 0.1 * values[0]).sum())
        assert moved[:large].min() > 0.6 and moved.max() < 1.3
        inside = left.T @ result @ right.T
        assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-3
        assert (orthogonalised(1000 * matrix) - result).abs().max() < 1e-4, "the gradient's size does not matter"


def test_a_step_is_about_as_long_as_one_of_adamw() -> None:
    """Liu et al. 2025: a root mean square of 0.2 to 0.4 times the learning rate."""
    weight = nn.Parameter(torch.zeros(16, 48, 3, 3))
    weight.grad = torch.randn(16, 48, 3, 3, generator=torch.Generator().manual_seed(0))
    Muon([weight], [], lr=0.01, weight_decay=0.0).step()
    assert 0.1 < float(weight.detach().square().mean().sqrt()) / 0.01 < 0.4


def test_inner_convolutions_are_orthogonalised_and_nothing_else() -> None:
    network = nn.ModuleDict(
        {
            "conv_in": nn.Conv2d(3, 8, 3),
            "middle": nn.Conv2d(8, 8, 3),
            "norm": nn.GroupNorm(2, 8),
            "conv_out": nn.Conv2d(8, 3, 3),
        }
    )
    matrices, others = optimiser(network, 0.01, 0.0).param_groups
    assert [id(p) for p in matrices["params"]] == [id(network["middle"].weight)]
    assert len(others["params"]) == len(list(network.parameters())) - 1


def test_matrices_of_one_shape_may_move_together() -> None:
    generator = torch.Generator().manual_seed(0)
    pair = torch.randn(2, 8, 30, generator=generator)
    together, alone = orthogonalised(pair), torch.stack([orthogonalised(matrix) for matrix in pair])
    assert torch.allclose(together, alone, atol=1e-5)


def test_it_descends_and_weight_decay_shrinks() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 4, 3, padding=1))
    x = torch.randn(8, 4, 12, 12)
    y = x.roll(1, -1)
    steps = optimiser(network, 0.01, 0.0)
    losses = []
    for _ in range(60):
        loss = (network(x) - y).abs().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]

    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight], [], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(weight.detach(), torch.full((4, 4), 0.95))

"""The opponent pulls as hard as it should."""

import pytest
import torch

from clrface_core.training.adversary import find_adversary
from clrface_core.training.parallel import find_accelerator


def test_the_adversary_pulls_as_hard_as_a_mean_absolute_error() -> None:
    """However steep the discriminator is."""
    torch.manual_seed(0)
    settings = {"weights": {"gan": 1.0}, "gan_from": 0, "gan_lr": 0.01}
    adversary = find_adversary(settings, torch.device("cpu"))
    assert adversary is not None
    clean = torch.rand(2, 3, 32, 32)
    wanted = 1 / clean.numel()
    for _ in range(3):
        restored = (clean * 0.5).requires_grad_()
        adversary.term(restored, clean).backward()
        assert restored.grad is not None
        assert float(restored.grad.square().mean().sqrt()) == pytest.approx(wanted, rel=1e-3)
        adversary.learn(find_accelerator("cpu"))

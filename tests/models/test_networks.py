"""IRN, refiner and mask head: what they start as, what they accept, and that conditions reach the output."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from clrface_core.errors import CLRFaceError
from clrface_core.models import unet
from clrface_core.models.configs import CONFIGS
from clrface_core.models.irn import IRN, IRNConfig
from clrface_core.models.mask import MaskHead
from clrface_core.models.refiner import Refiner
from clrface_core.models.unet import UNet, UNetConfig

TINY = CONFIGS["tiny"]


def shake(network: nn.Module) -> nn.Module:
    """Random weights everywhere, so that layers which start at zero show what they are wired to."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("reduce", [1, 2])
def test_untrained_irn_returns_its_input(reduce: int) -> None:
    irn = IRN(IRNConfig(TINY.irn.unet, patch=4, reduce=reduce))
    x = torch.rand(2, 3, 64, 32)
    assert torch.equal(irn(x), x)
    assert not torch.allclose(shake(irn)(x), x, atol=1e-2)


def test_reduced_irn_adds_a_smooth_change() -> None:
    """With reduce=2 the change is an enlarged half-size picture: its own reduction, enlarged, gives it back."""
    irn = shake(IRN(TINY.irn))
    x = torch.rand(1, 3, 64, 64)
    assert isinstance(irn, IRN)
    half = irn.change(torch.nn.functional.avg_pool2d(x, 2))
    enlarged = torch.nn.functional.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(irn(x) - x, enlarged, atol=1e-6)


def test_untrained_refiner_returns_the_irns_latent() -> None:
    refiner = Refiner(TINY.refiner)
    z = [torch.randn(2, 3, 16, 16) for _ in range(3)]
    assert torch.equal(refiner(*z, torch.rand(2)), z[2])


def test_an_unconditional_refiner_sees_only_its_state() -> None:
    refiner = shake(Refiner(replace(TINY.refiner, conditional=False)))
    z_t, *conditions = (torch.randn(2, 3, 16, 16) for _ in range(3))
    t = torch.rand(2)
    assert torch.equal(refiner(z_t, *conditions, t), refiner(z_t, *(z + 1 for z in conditions), t))
    assert not torch.equal(refiner(z_t, *conditions, t), refiner(z_t + 1, *conditions, t))


@pytest.mark.parametrize("argument", [0, 1, 2, 3])
def test_every_condition_reaches_the_refiners_output(argument: int) -> None:
    refiner = shake(Refiner(TINY.refiner))
    torch.manual_seed(0)
    arguments = [torch.randn(2, 3, 16, 16) for _ in range(3)] + [torch.full((2,), 0.3)]
    before = refiner(*arguments)
    arguments[argument] = arguments[argument] + 0.2
    change = (refiner(*arguments) - before - (0.2 if argument == 2 else 0)).abs().max()
    assert change > 1e-4


def test_a_face_does_not_see_its_batch() -> None:
    refiner = shake(Refiner(TINY.refiner))
    z = torch.randn(3, 3, 16, 16)
    t = torch.tensor([0.1, 0.3, 0.5])
    together = refiner(z, z, z, t)
    alone = refiner(z[1:2], z[1:2], z[1:2], t[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_mask_is_a_mask() -> None:
    head = MaskHead(TINY.mask)
    mask = head(torch.randn(2, 3, 16, 24), torch.randn(2, 3, 16, 24))
    assert mask.shape == (2, 1, 16, 24)
    assert torch.allclose(mask, torch.tensor(1.0).sigmoid())
    mask = shake(head)(torch.randn(2, 3, 16, 24), torch.randn(2, 3, 16, 24))
    assert 0 < mask.min() < mask.max() < 1


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(CLRFaceError, match="multiples of 16"):
        IRN(TINY.irn)(torch.rand(1, 3, 64, 60))
    with pytest.raises(CLRFaceError, match="three latents of one shape"):
        Refiner(TINY.refiner)(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), torch.rand(1, 3, 8, 8), torch.rand(1))
    with pytest.raises(CLRFaceError, match="as many widths"):
        UNetConfig(widths=(8, 16), blocks=(1,))
    with pytest.raises(CLRFaceError, match="head_channels"):
        UNetConfig(widths=(8, 24), blocks=(1, 1), head_channels=16)


def test_unet_without_time_and_with_one_level() -> None:
    unet = shake(UNet(5, 2, UNetConfig(widths=(16,), blocks=(1,), norm_groups=4, head_channels=8), timed=False))
    assert unet(torch.rand(1, 5, 8, 8)).shape == (1, 2, 8, 8)


def test_the_doors_for_references_are_shut_without_any() -> None:
    irn = shake(IRN(TINY.irn))
    assert isinstance(irn, IRN)
    faces, photos = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    blind, nobody = irn(faces), torch.zeros(2, 128)
    remembered = irn.remember(photos)
    remembered.weight = torch.zeros(2)
    assert torch.equal(irn(faces, identity=nobody, remembered=remembered), blind)


@pytest.mark.parametrize("door", ["identity", "remembered"])
def test_what_references_tell_reaches_its_own_face_alone(door: str) -> None:
    irn = shake(IRN(TINY.irn))
    assert isinstance(irn, IRN)
    faces, photos = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    remembered, someone = irn.remember(photos), torch.eye(128)[:2]
    remembered.weight, someone[0] = torch.tensor([0.0, 1.0]), 0
    told = irn(faces, **{door: {"identity": someone, "remembered": remembered}[door]})
    change = (told - irn(faces)).abs().amax((1, 2, 3))
    assert change[0] == 0
    assert change[1] > 1e-4


def test_photos_of_one_face_are_seen_together_in_any_order() -> None:
    irn = shake(IRN(TINY.irn))
    assert isinstance(irn, IRN)
    face, photos = torch.rand(1, 3, 64, 64), torch.rand(3, 3, 64, 64)
    one, other = (irn(face, remembered=irn.remember(batch).of_one_face()) for batch in (photos, photos.flip(0)))
    assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(one, irn(face, remembered=irn.remember(photos[:1])), atol=1e-5)


def test_attention_takes_tone_and_contrast_from_the_face() -> None:
    """A photo's values come with the face's own mean and spread, so a brighter print tells nothing else."""
    own, other = torch.randn(1, 2, 30, 4), torch.randn(1, 2, 20, 4)
    matched = unet._with_statistics_of(own, other)
    torch.testing.assert_close(matched.mean(2), own.mean(2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(matched.std(2), own.std(2), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(unet._with_statistics_of(own, 3 * other + 1), matched, rtol=1e-3, atol=1e-4)

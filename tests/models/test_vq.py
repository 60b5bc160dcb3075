"""The VQ autoencoder: shapes over its hyper-parameters, the look-up, and the exact change of latent scale."""

import pytest
import torch
import torch.nn.functional as F

from clrface_core.errors import CLRFaceError
from clrface_core.models.configs import CONFIGS
from clrface_core.models.vq import (
    Codebook,
    Upsample,
    VQConfig,
    VQModel,
    _by_products,
    _by_tree,
    standardise_latents,
)


@pytest.mark.parametrize("compression", [4, 8, 16, 32])
@pytest.mark.parametrize("attention", [False, True])
def test_every_compression_encodes_and_decodes(compression: int, attention: bool) -> None:
    mult = (1,) * compression.bit_length()
    config = VQConfig(ch=4, ch_mult=mult, num_res_blocks=1, n_embed=16, norm_groups=2, mid_attention=attention)
    vq = VQModel(config)
    x = torch.rand(2, 3, 64, 96)
    restored, z, z_q, indices = vq(x)
    assert config.compression == compression
    assert z.shape == z_q.shape == (2, 3, 64 // compression, 96 // compression)
    assert indices.shape == (2, *z.shape[2:])
    assert restored.shape == x.shape


def test_nearest_is_the_brute_force_answer() -> None:
    torch.manual_seed(0)
    book = Codebook(50, 3)
    z = torch.randn(2, 3, 40, 40)
    flat = z.permute(0, 2, 3, 1).reshape(-1, 1, 3).double()
    wanted = (flat - book.embedding.weight.double()).square().sum(-1).argmin(1)
    z_q, indices = book(z)
    assert torch.equal(indices.flatten(), wanted)
    assert torch.equal(z_q[1, :, 5, 7], book.embedding.weight[indices[1, 5, 7]])


def test_the_tree_and_all_distances_find_the_same_entries() -> None:
    generator = torch.Generator().manual_seed(0)
    points, entries = torch.randn(20_000, 3, generator=generator), torch.randn(500, 3, generator=generator)
    assert torch.equal(_by_tree(points, entries), _by_products(points, entries))


@pytest.mark.parametrize("channels", [3, 8])
def test_latents_that_are_not_finite_are_not_quantised(channels: int) -> None:
    """NaN is nearest to nothing: it must not become a pixel."""
    with pytest.raises(CLRFaceError, match="finite latents"):
        Codebook(4, channels)(torch.full((1, channels, 2, 2), float("nan")))


def test_codebook_entries_map_to_themselves_in_bfloat16() -> None:
    """Entries closer together than bfloat16 resolves must not be confused: the look-up is float32."""
    book = Codebook(3, 1)
    with torch.no_grad():
        book.embedding.weight.copy_(torch.tensor([[1.0], [1.001], [1.002]]))
    assert book(torch.tensor([1.0012]).view(1, 1, 1, 1))[1].item() == 1
    assert book(torch.ones(1, 1, 1, 1, dtype=torch.bfloat16))[0].dtype == torch.bfloat16


def test_gradient_passes_straight_through_the_codebook() -> None:
    vq = VQModel(CONFIGS["tiny"].vq)
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    vq(x)[0].sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_standardised_latents_decode_to_the_same_picture() -> None:
    torch.manual_seed(1)
    vq = VQModel(CONFIGS["tiny"].vq).double()
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before, z, _, indices = vq(x)
    mean = z.mean((0, 2, 3))
    standardise_latents(vq, mean, float((z - mean[:, None, None]).std()))
    with torch.no_grad():
        after, z, _, same_indices = vq(x)
    assert torch.allclose(before, after, atol=1e-6)
    assert torch.equal(indices, same_indices)
    assert z.mean((0, 2, 3)).abs().max() < 1e-6
    assert abs(float(z.std()) - 1) < 0.02


def test_base_is_the_papers_class() -> None:
    config = CONFIGS["base"].vq
    assert (config.ch, config.ch_mult, config.n_embed, config.embed_dim) == (128, (1, 2, 4), 8192, 3)
    assert config.compression == 4


@pytest.mark.parametrize("bad", [(3, 66, 64), (1, 64, 64)])
def test_bad_pictures_are_named(bad: tuple[int, int, int]) -> None:
    with pytest.raises(CLRFaceError, match="multiples of 4"):
        VQModel(CONFIGS["tiny"].vq).encode(torch.rand(1, *bad))


def test_bad_configs_are_named() -> None:
    with pytest.raises(CLRFaceError, match="3 to 6"):
        VQConfig(ch_mult=(1, 2))
    with pytest.raises(CLRFaceError, match="multiple of norm_groups"):
        VQConfig(ch=20)


def test_doubling_is_nearest_neighbour_and_then_the_convolution() -> None:
    torch.manual_seed(0)
    upsample = Upsample(6).double()
    x = torch.randn(2, 6, 5, 8, dtype=torch.float64, requires_grad=True)
    wanted = upsample.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(upsample(x), wanted, rtol=0, atol=1e-12)
    weights = torch.randn_like(wanted)
    inputs = [x, upsample.conv.weight]
    gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (upsample(x), wanted))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_a_picture_does_not_depend_on_whether_gradients_are_recorded() -> None:
    vq = VQModel(VQConfig(ch=8, ch_mult=(1, 1, 2), num_res_blocks=1, n_embed=16, norm_groups=0, mid_attention=False))
    for parameter in vq.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.rand(1, 3, 32, 32)
    before = x.clone()
    with torch.no_grad():
        plain = vq.decode(vq.encode(x))
    torch.testing.assert_close(plain, vq.decode(vq.encode(x)))
    assert torch.equal(x, before)

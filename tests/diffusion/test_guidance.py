"""Identity guidance against closed forms: an embedding whose cosine distance is a known quadratic."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clrface_core.diffusion.guidance import LARGEST_STEP, IdentityGuidance, normalise
from clrface_core.errors import CLRFaceError

SHAPE = (2, 3, 8, 8)
CURVATURE = 0.003


def random(seed: int, shape: tuple[int, ...] = SHAPE, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def near(z: Tensor, seed: int = 1) -> Tensor:
    """A person within reach of z in one unbounded step."""
    return z + 0.02 * random(seed, tuple(z.shape))


def decode(z: Tensor) -> Tensor:
    return (z + 1) / 2


def quadratic_identity(person: Tensor) -> Callable[[Tensor], Tensor]:
    """An embedding with 1 - cos(embed(decode(z)), (1, 0)) = CURVATURE/2 |z - person|^2."""

    def embed(pictures: Tensor) -> Tensor:
        distance = CURVATURE / 2 * (2 * pictures - 1 - person).square().sum(dim=(1, 2, 3))
        return torch.stack((1 - distance, (1 - (1 - distance) ** 2).sqrt()), dim=1)

    return embed


def guidance_to(person: Tensor, **options: object) -> IdentityGuidance:
    target = torch.tensor([1.0, 0.0], dtype=person.dtype).expand(len(person), 2)
    return IdentityGuidance(decode, quadratic_identity(person), target, **options)  # type: ignore[arg-type]


def must_not_be_called(_: Tensor) -> Tensor:
    raise AssertionError("guidance of strength 0 called a network")


def per_face(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def test_the_gradient_is_that_of_the_cosine_distance() -> None:
    z, person = random(0), random(1)
    gradient, distance = guidance_to(person).gradient(z)
    torch.testing.assert_close(gradient, CURVATURE * (z - person))
    torch.testing.assert_close(distance, CURVATURE / 2 * (z - person).square().sum(dim=(1, 2, 3)))


def test_the_estimate_moves_by_exactly_the_formula() -> None:
    z, mask = random(0), torch.rand(SHAPE, dtype=torch.float64)
    person, alpha = near(z), torch.tensor([0.9, 0.4], dtype=torch.float64)
    guided = guidance_to(person, strength=0.7, mask=mask)(z, alpha)
    # d = c/2 |z - p|^2 and g = c (z - p), so g d / |g|^2 = (z - p) / 2
    torch.testing.assert_close(guided, z - 0.7 * per_face(alpha) * (z - person) / 2 * mask)


def test_strength_one_goes_halfway_down_a_quadratic_and_strength_two_arrives() -> None:
    z, alpha = random(0), torch.ones(2)
    person = near(z)
    torch.testing.assert_close(guidance_to(person)(z, alpha), (z + person) / 2)
    torch.testing.assert_close(guidance_to(person, strength=2.0)(z, alpha), person)


def test_a_step_towards_someone_far_away_is_bounded() -> None:
    for shape in ((1, 3, 4, 4), (2, 4, 16, 16), (3, 8, 2, 6)):
        z, person = random(0, shape), random(1, shape) * 0.1
        move = z - guidance_to(person, strength=0.5)(z, torch.full((shape[0],), 0.8))
        rms = move.square().mean(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(rms, torch.full_like(rms, 0.5 * 0.8 * LARGEST_STEP))
        assert (torch.cosine_similarity(move.flatten(1), (z - person).flatten(1)) > 1 - 1e-9).all()


def test_an_estimate_that_has_arrived_is_left_in_peace() -> None:
    # in float32 the cosine of a vector with itself is 1 only to rounding: that must not become a direction
    z = random(0, dtype=torch.float32)
    project = random(3, (192, 16), torch.float32)

    def embed(pictures: Tensor) -> Tensor:
        return torch.tanh(pictures.flatten(1) @ project / 192**0.5)

    # the same pictures one at a time: the sums may round otherwise
    target = torch.cat([embed(decode(face)) for face in z.split(1)])
    guided = IdentityGuidance(decode, embed, target)(z, torch.ones(2))
    assert (guided - z).abs().max() < 1e-5


def test_the_move_adds_the_masked_term_to_the_score() -> None:
    # design fact 3: z0_hat + d changes the score by alpha d / sigma^2
    z_t, z0_hat, mask = random(2), random(0), torch.rand(SHAPE, dtype=torch.float64)
    person = near(z0_hat)
    alpha, sigma = 0.8, 0.6
    guided = guidance_to(person, strength=0.5, mask=mask)(z0_hat, torch.full((2,), alpha))
    term = -0.5 * alpha * (z0_hat - person) / 2 * mask * alpha / sigma**2
    score = (alpha * z0_hat - z_t) / sigma**2
    torch.testing.assert_close((alpha * guided - z_t) / sigma**2, score + term, rtol=1e-6, atol=1e-6)


def test_strength_zero_calls_neither_decoder_nor_recognition_network() -> None:
    z = random(0)
    guidance = IdentityGuidance(must_not_be_called, must_not_be_called, torch.zeros(2, 2), strength=0.0)
    assert guidance(z, torch.ones(2)) is z


def test_a_zero_mask_moves_nothing() -> None:
    z = random(0)
    guided = guidance_to(random(1), strength=3.0, mask=torch.zeros(SHAPE, dtype=torch.float64))(z, torch.ones(2))
    assert torch.equal(guided, z)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 8, 8), (2, 1, 8, 8)])
def test_the_mask_keeps_the_move_local(shape: tuple[int, ...]) -> None:
    z = random(0)
    mask = torch.zeros(shape, dtype=torch.float64)
    mask[..., 2:5, 3:6] = 1
    inside = mask.expand(SHAPE) > 0
    everywhere = guidance_to(random(1))(z, torch.ones(2))
    masked = guidance_to(random(1), mask=mask)(z, torch.ones(2))
    assert torch.equal(masked[~inside], z[~inside])
    assert torch.equal(masked[inside], everywhere[inside])


def test_a_face_is_moved_alike_in_any_company() -> None:
    z, person = random(0), random(1)
    alpha = torch.tensor([0.9, 0.4], dtype=torch.float64)
    together = guidance_to(person)(z, alpha)
    for i in range(2):
        alone = guidance_to(person[i : i + 1])(z[i : i + 1], alpha[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


def test_a_zero_gradient_stays_zero() -> None:
    distance = torch.tensor([0.5, 0.0])
    for size in (0.0, 1e-25):  # the square of the second is 0 in float32
        assert torch.equal(normalise(torch.full(SHAPE, size), distance), torch.zeros(SHAPE))
    assert normalise(random(0, dtype=torch.float32), distance)[1].abs().max() == 0


class _Linear(nn.Module):
    """A decoder with a weight, for the tests of graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1, dtype=torch.float64)

    def forward(self, z: Tensor) -> Tensor:
        return self.mix(z)


def embed_pixels(pictures: Tensor) -> Tensor:
    return pictures.flatten(1)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_works_in_every_gradient_mode(mode: Callable[[], object]) -> None:
    decoder, z = _Linear(), random(0)
    expected = IdentityGuidance(decoder, embed_pixels, random(1).flatten(1))(z, torch.ones(2))
    with mode():  # type: ignore[attr-defined]
        # made here, they are inference tensors under inference_mode
        guidance = IdentityGuidance(decoder, embed_pixels, random(1).flatten(1), mask=torch.ones(SHAPE))
        guided = guidance(random(0) * 1, torch.ones(2))
        assert torch.is_grad_enabled() is (mode is torch.enable_grad)
    assert torch.equal(guided.clone(), expected)
    assert not guided.requires_grad
    assert decoder.mix.weight.grad is None  # only the latent's gradient is taken


def test_no_gradient_reaches_the_denoiser() -> None:
    weight = torch.ones(SHAPE, dtype=torch.float64, requires_grad=True)
    z0_hat = random(0) * weight
    touched: list[Tensor] = []
    weight.register_hook(touched.append)
    gradient, distance = guidance_to(random(1)).gradient(z0_hat)
    assert not gradient.requires_grad and not distance.requires_grad
    assert not touched and weight.grad is None


def test_the_mask_can_be_trained_through_the_move() -> None:
    z, person = random(0), near(random(0))
    mask = torch.full(SHAPE, 0.5, dtype=torch.float64, requires_grad=True)
    guided = guidance_to(person, strength=2.0, mask=mask)(z, torch.ones(2))
    guided.sum().backward()
    torch.testing.assert_close(mask.grad, -(z - person))


def test_networks_may_run_in_another_dtype() -> None:
    z, target = random(0, dtype=torch.float32), random(1, dtype=torch.float32).flatten(1)
    exact = IdentityGuidance(lambda z: z, embed_pixels, target)
    rough = IdentityGuidance(lambda z: z.to(torch.bfloat16), embed_pixels, target)
    guided, expected = rough(z, torch.ones(2)), exact(z, torch.ones(2))
    assert guided.dtype == torch.float32
    assert (torch.cosine_similarity((guided - z).flatten(1), (expected - z).flatten(1)) > 0.999).all()


@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_a_bad_strength_is_refused(strength: float) -> None:
    with pytest.raises(CLRFaceError, match="strength"):
        IdentityGuidance(decode, embed_pixels, torch.zeros(1, 2), strength=strength)


def test_a_target_of_another_batch_is_refused() -> None:
    guidance = guidance_to(random(1)[:1])
    with pytest.raises(CLRFaceError, match=r"\(2, 2\), got \(1, 2\)"):
        guidance(random(0), torch.ones(2))

"""Laws of mixture priors: torch's own mixtures, integrals on a grid, and a bound that holds.

Legend: B users in the batch, K components, Z latent width.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.priors import (
    CompositePrior,
    EqualMixture,
    GaussianUnderPrior,
    Prior,
    TwoLevelPosterior,
)
from tests.nn.batches import SizeGuard

_B, _K, _Z = 4, 3, 5
_WEIGHTS = (0.15, 0.75, 0.10)


def _gaussian(rows: int, width: int, seed: int) -> DiagonalGaussian:
    draw = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, rows, width, generator=draw, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def _standard(width: int) -> DiagonalGaussian:
    zero = torch.zeros(1, width, dtype=torch.float64)
    return DiagonalGaussian(zero, zero)


def _composite(rows: int, width: int, *, by_coordinate: bool = False) -> CompositePrior:
    wide = DiagonalGaussian(_standard(width).mean_BZ, _standard(width).mean_BZ + 10.0)
    parts = [_standard(width), _gaussian(rows, width, 7), wide]
    return CompositePrior(parts, _WEIGHTS, by_coordinate)


def _stacked(parts: CompositePrior) -> tuple[Tensor, Tensor]:
    """Means and deviations as (B, K, Z)."""
    means = torch.stack([part.mean_BZ.expand(_B, _Z) for part in parts.components], dim=1)
    spreads = [part.log_variance_BZ.expand(_B, _Z) for part in parts.components]
    return means, (0.5 * torch.stack(spreads, dim=1)).exp()


def _priors(rows: int, width: int) -> dict[str, Prior]:
    return {
        "composite": _composite(rows, width),
        "by coordinate": _composite(rows, width, by_coordinate=True),
        "equal": EqualMixture(_gaussian(_K, width, 8)),
    }


_NAMES = tuple(_priors(1, 1))


def _one_dimensional(prior: Prior) -> tuple[Tensor, Tensor]:
    """A grid that holds all but e^-32 of every component, and log p on it."""
    grid = torch.linspace(-1200, 1200, 2_400_001, dtype=torch.float64)
    return grid, prior.log_density(grid[:, None])


@pytest.mark.parametrize("name", _NAMES)
def test_the_density_integrates_to_one(name: str) -> None:
    grid, log_p = _one_dimensional(_priors(1, 1)[name])
    # Smooth functions that vanish at both ends: the trapezoidal rule is good to rounding.
    assert torch.trapezoid(log_p.exp(), grid).item() == pytest.approx(1.0, abs=1e-9)


def test_the_composite_log_density_is_torchs_own_mixture() -> None:
    prior = _composite(_B, _Z)
    means, deviations = _stacked(prior)
    chosen = Categorical(torch.tensor(_WEIGHTS, dtype=torch.float64).expand(_B, -1))
    mixture = MixtureSameFamily(chosen, Independent(Normal(means, deviations), 1))
    z = _gaussian(_B, _Z, 1).mean_BZ * 3
    # Doubles, sums of five terms.
    assert torch.allclose(prior.log_density(z), mixture.log_prob(z), rtol=1e-12)


def test_by_coordinate_it_is_a_product_of_torchs_own_mixtures() -> None:
    prior = _composite(_B, _Z, by_coordinate=True)
    means, deviations = (part.transpose(1, 2) for part in _stacked(prior))
    chosen = Categorical(torch.tensor(_WEIGHTS, dtype=torch.float64).expand(_B, _Z, -1))
    mixture = MixtureSameFamily(chosen, Normal(means, deviations))
    z = _gaussian(_B, _Z, 1).mean_BZ * 3
    # Doubles, sums of five terms.
    assert torch.allclose(prior.log_density(z), mixture.log_prob(z).sum(dim=1), rtol=1e-12)


@given(scale=st.floats(0.01, 100), spread=st.floats(-12, 4), width=st.sampled_from([1, 2, 200]))
def test_the_equal_mixtures_log_density_is_torchs_own(
    scale: float, spread: float, width: int
) -> None:
    parts = _gaussian(_K, width, 3)
    parts = DiagonalGaussian(parts.mean_BZ * scale, parts.log_variance_BZ + spread)
    z = _gaussian(_B, width, 1).mean_BZ * scale
    normal = Independent(Normal(parts.mean_BZ, (0.5 * parts.log_variance_BZ).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(_K, dtype=torch.float64)), normal)
    # Squares up to (400 e^8)^2 cancel in doubles: relative to them, some units of 1e-16.
    largest = width * (5 * scale) ** 2 * math.exp(4 - spread)
    gap = (EqualMixture(parts).log_density(z) - mixture.log_prob(z)).abs().max()
    assert gap <= 1e-14 * largest + 1e-10


def test_in_float32_the_equal_mixture_loses_no_more_than_its_input_does() -> None:
    parts, z = _gaussian(_K, 200, 3), _gaussian(_B, 200, 1).mean_BZ
    exact = EqualMixture(
        DiagonalGaussian(parts.mean_BZ.float().double(), parts.log_variance_BZ.float().double())
    )
    narrow = EqualMixture(DiagonalGaussian(parts.mean_BZ.float(), parts.log_variance_BZ.float()))
    with torch.autocast("cpu", torch.bfloat16):
        found = narrow.log_density(z.float())
    assert found.dtype == torch.float32
    # Rounded once, at the end.
    assert torch.allclose(found.double(), exact.log_density(z.float().double()), rtol=1e-7)


def test_the_equal_mixture_holds_nothing_of_users_times_components_times_width() -> None:
    parts, z = _gaussian(300, 50, 3), _gaussian(200, 50, 1).mean_BZ
    parts.mean_BZ.requires_grad_()
    # Users times components are 480 kB; times the width they would be 24 MB.
    with SizeGuard(limit=8 * 300 * 200 + 4096):
        EqualMixture(parts).log_density(z).sum().backward()
    assert parts.mean_BZ.grad is not None


@pytest.mark.parametrize("name", _NAMES)
def test_the_estimates_mean_is_the_divergence_by_numerical_integration(name: str) -> None:
    users, prior = 200_000, _priors(1, 1)[name]
    q = _gaussian(1, 1, 5)
    grid, log_p = _one_dimensional(prior)
    log_q = q.log_density(grid[:, None])
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), grid).item()
    many = DiagonalGaussian(q.mean_BZ.expand(users, 1), q.log_variance_BZ.expand(users, 1))
    draws = GaussianUnderPrior(many, lambda: prior).draw(Noise(3, 0, torch.arange(users))).kl_B
    # Five standard errors.
    assert abs(draws.mean().item() - exact) < 5 * draws.std().item() / users**0.5


@pytest.mark.parametrize("by_coordinate", [False, True])
def test_with_the_standard_normal_alone_the_estimates_mean_is_the_analytic_divergence(
    by_coordinate: bool,
) -> None:
    users = 100_000
    q = _gaussian(1, _Z, 5)
    many = DiagonalGaussian(q.mean_BZ.expand(users, -1), q.log_variance_BZ.expand(users, -1))
    prior = CompositePrior([_standard(_Z)], (1.0,), by_coordinate)
    posterior = GaussianUnderPrior(many, lambda: prior)
    draws = posterior.draw(Noise(4, 0, torch.arange(users))).kl_B
    # Five standard errors.
    assert abs(draws.mean() - q.kl()[0]).item() < 5 * draws.std().item() / users**0.5
    # The bound of a mixture of one is no bound but the divergence itself; roundings of doubles.
    assert torch.allclose(posterior.kl(), q.kl(), rtol=1e-10)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_kl_without_noise_is_an_upper_bound_of_the_divergence(name: str, seed: int) -> None:
    prior = _priors(1, 1)[name]
    q = _gaussian(1, 1, seed)
    grid, log_p = _one_dimensional(prior)
    log_q = q.log_density(grid[:, None])
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), grid).item()
    bound = GaussianUnderPrior(q, lambda: prior).kl().item()
    # At least the divergence to rounding, and no worse than that to a component of the mixture:
    # KL(q || p) <= KL(q || p_k) - log w_k for every k.
    assert bound >= exact - 1e-9
    if name != "equal":
        standard = kl_divergence(
            Normal(q.mean_BZ, (0.5 * q.log_variance_BZ).exp()), Normal(0.0, 1.0)
        )
        assert bound <= standard.item() - math.log(_WEIGHTS[0]) + 1e-9


def test_scoring_asks_for_no_prior() -> None:
    def refuse() -> Prior:
        raise AssertionError("not needed")

    q = _gaussian(_B, _Z, 0)
    posterior = GaussianUnderPrior(q, refuse)
    assert torch.equal(posterior.mean_BZ, q.mean_BZ)
    noise = Noise(0, 0, torch.arange(_B))
    assert torch.equal(posterior.sample(noise), q.sample(noise))


def _two_levels(rows: int) -> TwoLevelPosterior:
    """z1 = N(2 z2, e^-1) under N(z2, 1)."""
    prior = EqualMixture(_gaussian(_K, 1, 8))
    q = _gaussian(1, 1, 5)
    upper = DiagonalGaussian(q.mean_BZ.expand(rows, 1), q.log_variance_BZ.expand(rows, 1))
    return TwoLevelPosterior(
        GaussianUnderPrior(upper, lambda: prior),
        lambda z2: DiagonalGaussian(2 * z2, torch.full_like(z2, -1.0)),
        lambda z2: DiagonalGaussian(z2, torch.zeros_like(z2)),
    )


def test_two_levels_draw_the_lower_point_given_the_upper() -> None:
    users = 100_000
    noise = Noise(6, 0, torch.arange(users))
    posterior = _two_levels(users)
    drawn = posterior.draw(noise)
    assert torch.equal(drawn.z_BZ, posterior.sample(noise))
    lower, upper = drawn.z_BZ.T
    rest = ((lower - 2 * upper) / math.exp(-0.5)).numpy()
    # Five standard errors of mean, variance and correlation.
    assert abs(rest.mean()) < 5 / users**0.5
    assert abs(rest.var() - 1) < 5 * (2 / users) ** 0.5
    assert abs(np.corrcoef(rest, upper.numpy())[0, 1]) < 5 / users**0.5
    assert torch.equal(posterior.mean_BZ[:, 0], 2 * posterior.mean_BZ[:, 1])


def test_the_two_levels_estimates_mean_is_the_sum_of_both_divergences() -> None:
    users = 200_000
    posterior = _two_levels(users)
    drawn = posterior.draw(Noise(6, 1, torch.arange(users)))
    q = posterior.upper.gaussian
    grid, log_p = _one_dimensional(posterior.upper.make_prior())
    log_q = DiagonalGaussian(q.mean_BZ[:1], q.log_variance_BZ[:1]).log_density(grid[:, None])
    # Of z1: 1/2 (1/e + z2^2 - 1 + 1) in expectation over z2.
    lower = 0.5 * (math.exp(-1) + q.mean_BZ[0, 0] ** 2 + q.log_variance_BZ[0, 0].exp())
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), grid) + lower
    # Five standard errors.
    assert abs(drawn.kl_B.mean() - exact).item() < 5 * drawn.kl_B.std().item() / users**0.5

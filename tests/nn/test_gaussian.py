"""Laws of posteriors: the KL term against torch's own, and samples with unit noise."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from recsys_vae.nn.gaussian import DiagonalGaussian, PointMass
from recsys_vae.nn.noise import Noise

_USERS, _WIDTH = 3, 4


def _matrix(low: float, high: float) -> st.SearchStrategy[Tensor]:
    numbers = st.lists(st.floats(low, high), min_size=_USERS * _WIDTH, max_size=_USERS * _WIDTH)
    return numbers.map(lambda listed: torch.tensor(listed, dtype=torch.float64).view(_USERS, -1))


def _noise(n_users: int, step: int = 0) -> Noise:
    return Noise(seed=11, step=step, users=torch.arange(n_users))


@given(mean=_matrix(-50, 50), log_variance=_matrix(-20, 10))
def test_the_kl_term_is_torchs_own(mean: Tensor, log_variance: Tensor) -> None:
    ours = DiagonalGaussian(mean, log_variance).kl()
    theirs = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(dim=1)
    # Doubles; terms up to e^10 and 50^2 are added to others near 0, so relative to the largest.
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-10)


@given(mean=_matrix(-50, 50), log_variance=_matrix(-20, 10))
def test_the_kl_term_is_never_negative(mean: Tensor, log_variance: Tensor) -> None:
    # Rounding of four terms of size <= e^10 in doubles, four coordinates.
    assert (DiagonalGaussian(mean, log_variance).kl() >= -1e-10).all()


def test_the_kl_term_of_the_prior_itself_is_zero() -> None:
    assert torch.equal(DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3)).kl(), torch.zeros(2))


def test_the_kl_term_is_a_sum_over_coordinates_not_a_mean() -> None:
    # Each coordinate: 1/2 (1 + 2^2 - 1 - 0) = 2; five of them: 10.
    kl = DiagonalGaussian(torch.full((1, 5), 2.0), torch.zeros(1, 5)).kl()
    assert kl.tolist() == [10.0]


def test_the_noise_of_samples_has_mean_zero_and_variance_one() -> None:
    n_users, width = 50_000, 8
    mean = torch.linspace(-3, 3, width, dtype=torch.float64).expand(n_users, -1)
    log_variance = torch.linspace(-2, 2, width, dtype=torch.float64).expand(n_users, -1)
    sample = DiagonalGaussian(mean, log_variance).sample(_noise(n_users))
    noise = ((sample - mean) / (0.5 * log_variance).exp()).numpy()
    # Standard errors: 1/sqrt(n) of the mean, sqrt(2/n) of the variance; five of them.
    assert np.abs(noise.mean(axis=0)).max() < 5 / n_users**0.5
    assert np.abs(noise.var(axis=0) - 1).max() < 5 * (2 / n_users) ** 0.5


def test_a_sample_is_differentiable_in_mean_and_log_variance() -> None:
    mean = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    log_variance = torch.full((2, 3), 0.8, dtype=torch.float64, requires_grad=True)
    sample = DiagonalGaussian(mean, log_variance).sample(_noise(2))
    by_mean, by_log_variance = torch.autograd.grad(sample.sum(), [mean, log_variance])
    assert torch.equal(by_mean, torch.ones_like(mean))
    # z = m + exp(s/2) e, so dz/ds = (z - m) / 2; equal up to a rounding of doubles.
    assert torch.allclose(by_log_variance, (sample - mean) / 2, rtol=1e-12)


def test_samples_of_different_steps_differ() -> None:
    gaussian = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    assert not torch.equal(gaussian.sample(_noise(2, step=0)), gaussian.sample(_noise(2, step=1)))


def test_a_point_mass_samples_itself_and_costs_nothing() -> None:
    point = PointMass(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    assert torch.equal(point.sample(_noise(2)), point.mean_BZ)
    assert torch.equal(point.kl(), torch.zeros(2))


@given(mean=_matrix(-50, 50), log_variance=_matrix(-20, 10), point=_matrix(-50, 50))
def test_log_density_and_entropy_are_torchs_own(
    mean: Tensor, log_variance: Tensor, point: Tensor
) -> None:
    ours = DiagonalGaussian(mean, log_variance)
    theirs = Normal(mean, (0.5 * log_variance).exp())
    # Doubles; terms of any size are added to others near 0, so relative to the largest.
    assert torch.allclose(ours.log_density(point), theirs.log_prob(point).sum(dim=1), rtol=1e-11)
    assert torch.allclose(ours.entropy(), theirs.entropy().sum(dim=1), rtol=1e-12, atol=1e-12)


@given(
    mean=_matrix(-50, 50), log_variance=_matrix(-10, 5), other=_matrix(-50, 50),
    spread=_matrix(-10, 5),
)  # fmt: skip
def test_the_divergence_to_another_normal_is_torchs_own(
    mean: Tensor, log_variance: Tensor, other: Tensor, spread: Tensor
) -> None:
    ours = DiagonalGaussian(mean, log_variance).kl_to(DiagonalGaussian(other, spread))
    one, two = Normal(mean, (0.5 * log_variance).exp()), Normal(other, (0.5 * spread).exp())
    theirs = kl_divergence(one, two).sum(dim=1)
    # Doubles; terms up to 100^2 e^10 are added to others near 0, so relative to the largest.
    assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-9)


def test_samples_of_different_streams_differ() -> None:
    gaussian = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3))
    assert not torch.equal(gaussian.sample(_noise(2)), gaussian.sample(_noise(2), stream=4))

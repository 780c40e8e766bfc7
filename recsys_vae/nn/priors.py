r"""Mixtures of normal distributions as priors p(z), and posteriors that are measured against them.

The Kullback-Leibler divergence to a mixture has no closed form. Training estimates it from the one
point that is drawn anyway, log q(z) - log p(z); where no noise is at hand, a bound takes its place.

Legend: B users in the batch, K components, Z latent width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise

_LOG_2PI: Final = math.log(2.0 * math.pi)
_LOWER_SAMPLE: Final = 4
"""Stream of the noise of the lower of two levels; the upper one has the usual."""


class Prior(Protocol):
    """A mixture p(z) = sum_k w_k p_k(z)."""

    def log_density(self, z_BZ: Tensor) -> Tensor:
        """Give log p of a point for each user, (B,), in nats."""
        ...

    def log_density_bound(self, posterior: DiagonalGaussian) -> Tensor:
        """Give log sum_k w_k exp(E_q[log p_k(z)]) <= E_q[log p(z)] for each user, (B,)."""
        ...


@dataclass(frozen=True, slots=True)
class CompositePrior:
    r"""A few normal distributions with a weight each; they may differ from user to user.

    p(z) = sum_k w_k N(z | m_k, e^s_k) with the sum outside of the product over coordinates, or,
    `by_coordinate`, inside of it: p(z) = prod_z sum_k w_k N(z_z | m_kz, e^s_kz), in which each
    coordinate chooses a component of its own.

    Args:
        components: K of them; means and log-variances broadcast against (B, Z).
        weights: of the components, above 0, with sum 1.
        by_coordinate: whether each coordinate is a mixture, or the point as a whole.

    >>> standard = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> prior = CompositePrior([standard, standard], (0.25, 0.75))
    >>> point = torch.ones(1, 2)
    >>> bool(torch.isclose(prior.log_density(point), standard.log_density(point)))
    True
    """

    components: Sequence[DiagonalGaussian]
    weights: Sequence[float]
    by_coordinate: bool = False

    def log_density(self, z_BZ: Tensor) -> Tensor:
        """Give log p of a point for each user, (B,), in nats."""
        return self._mixed(z_BZ, None)

    def log_density_bound(self, posterior: DiagonalGaussian) -> Tensor:
        """Give log sum_k w_k exp(E_q[log p_k(z)]) for each user, (B,), in nats."""
        return self._mixed(posterior.mean_BZ, posterior.log_variance_BZ.exp())

    def _mixed(self, mean_BZ: Tensor, variance_BZ: Tensor | None) -> Tensor:
        terms = []
        for component, weight in zip(self.components, self.weights, strict=True):
            square_BZ = (mean_BZ - component.mean_BZ).square()
            if variance_BZ is not None:
                square_BZ = square_BZ + variance_BZ
            spread = component.log_variance_BZ
            log_p_BZ = -0.5 * (square_BZ * torch.exp(-spread) + spread + _LOG_2PI)
            log_p = log_p_BZ if self.by_coordinate else log_p_BZ.sum(dim=1)
            terms.append(log_p + math.log(weight))
        mixed = torch.stack(terms).logsumexp(dim=0)
        return mixed.sum(dim=1) if self.by_coordinate else mixed


@dataclass(frozen=True, slots=True)
class EqualMixture:
    r"""p(z) = 1/K sum_k N(z | m_k, e^s_k), the same for all users.

    sum_z (z_z - m_kz)^2 e^-s_kz is multiplied out into two matrix products, so that nothing of
    size B K Z is ever held; the products are float64, because large terms cancel in them.

    Args:
        components: (K, Z) means and log-variances.
    """

    components: DiagonalGaussian

    def log_density(self, z_BZ: Tensor) -> Tensor:
        """Give log p of a point for each user, (B,), in nats."""
        z_BZ = z_BZ.double()
        return self._mixed(z_BZ, z_BZ.square()).to(self.components.mean_BZ.dtype)

    def log_density_bound(self, posterior: DiagonalGaussian) -> Tensor:
        """Give log 1/K sum_k exp(E_q[log p_k(z)]) for each user, (B,), in nats."""
        mean_BZ = posterior.mean_BZ.double()
        square_BZ = mean_BZ.square() + posterior.log_variance_BZ.double().exp()
        return self._mixed(mean_BZ, square_BZ).to(self.components.mean_BZ.dtype)

    def _mixed(self, mean_BZ: Tensor, square_BZ: Tensor) -> Tensor:
        mean_KZ = self.components.mean_BZ.double()
        spread_KZ = self.components.log_variance_BZ.double()
        precision_KZ = torch.exp(-spread_KZ)
        own_K = (mean_KZ.square() * precision_KZ + spread_KZ + _LOG_2PI).sum(dim=1)
        crossed_BK = mean_BZ @ (mean_KZ * precision_KZ).T
        log_p_BK = -0.5 * (square_BZ @ precision_KZ.T + own_K) + crossed_BK
        return log_p_BK.logsumexp(dim=1) - math.log(len(mean_KZ))


@dataclass(frozen=True, slots=True)
class Draw:
    """A point for each user, and what the posterior costs there.

    Attributes:
        z_BZ: the points.
        kl_B: the KL term or its estimate at the points, in nats.
    """

    z_BZ: Tensor
    kl_B: Tensor


@dataclass(frozen=True, slots=True)
class GaussianUnderPrior:
    """q(z|x) = N(m, diag e^s) under a prior that is not the standard normal distribution.

    Args:
        gaussian: q.
        make_prior: gives p; called only where the prior is needed, which scoring does not.
    """

    gaussian: DiagonalGaussian
    make_prior: Callable[[], Prior]

    @property
    def mean_BZ(self) -> Tensor:  # noqa: N802 # shape suffix
        """The mean of each user's posterior."""
        return self.gaussian.mean_BZ

    def sample(self, noise: Noise) -> Tensor:
        """Draw z_BZ, differentiable in the parameters."""
        return self.gaussian.sample(noise)

    def draw(self, noise: Noise) -> Draw:
        """Draw z ~ q with log q(z) - log p(z), whose expectation is KL(q || p)."""
        z_BZ = self.gaussian.sample(noise)
        return Draw(z_BZ, self.gaussian.log_density(z_BZ) - self.make_prior().log_density(z_BZ))

    def kl(self) -> Tensor:
        r"""Give an upper bound of KL(q || p) per user, (B,), in nats; exact for one component.

        KL(q || p) <= -H(q) - log sum_k w_k exp(E_q[log p_k(z)]), by Jensen's inequality.

        Source: J. R. Hershey, P. A. Olsen, Approximating the Kullback Leibler Divergence Between
        Gaussian Mixture Models, ICASSP 2007, section 7, for one component on the left.
        """
        bound = self.make_prior().log_density_bound(self.gaussian)
        return -self.gaussian.entropy() - bound


@dataclass(frozen=True, slots=True)
class TwoLevelPosterior:
    """q(z1, z2|x) = q(z2|x) q(z1|x, z2); points are (B, 2 Z), z1 first.

    Args:
        upper: q(z2|x) under its prior p(z2).
        lower: gives q(z1|x, z2) for z2.
        lower_prior: gives p(z1|z2).
    """

    upper: GaussianUnderPrior
    lower: Callable[[Tensor], DiagonalGaussian]
    lower_prior: Callable[[Tensor], DiagonalGaussian]

    @property
    def mean_BZ(self) -> Tensor:  # noqa: N802 # shape suffix
        """The mean of z2, and of z1 given that."""
        upper_BZ = self.upper.mean_BZ
        return torch.cat([self.lower(upper_BZ).mean_BZ, upper_BZ], dim=1)

    def sample(self, noise: Noise) -> Tensor:
        """Draw z2, then z1 given z2."""
        upper_BZ = self.upper.sample(noise)
        lower_BZ = self.lower(upper_BZ).sample(noise, stream=_LOWER_SAMPLE)
        return torch.cat([lower_BZ, upper_BZ], dim=1)

    def draw(self, noise: Noise) -> Draw:
        """Draw, with the KL term: of z2 estimated at the sample, of z1 given z2 exact."""
        upper = self.upper.draw(noise)
        lower = self.lower(upper.z_BZ)
        lower_BZ = lower.sample(noise, stream=_LOWER_SAMPLE)
        kl_B = upper.kl_B + lower.kl_to(self.lower_prior(upper.z_BZ))
        return Draw(torch.cat([lower_BZ, upper.z_BZ], dim=1), kl_B)

    def kl(self) -> Tensor:
        """Give the bound of the upper level and the lower level's divergence at the mean of z2."""
        upper_BZ = self.upper.mean_BZ
        return self.upper.kl() + self.lower(upper_BZ).kl_to(self.lower_prior(upper_BZ))

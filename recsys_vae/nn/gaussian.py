"""What an encoder returns: a distribution over the latent space, not a pair of tensors.

Legend: B users in the batch, Z latent width.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from recsys_vae.nn.noise import Noise

_LOG_2PI: Final = math.log(2.0 * math.pi)


class Distribution(Protocol):
    """A posterior q(z|x) per user."""

    @property
    def mean_BZ(self) -> Tensor:  # noqa: N802 # shape suffix
        """The mean of each user's posterior."""
        ...

    def sample(self, noise: Noise) -> Tensor:
        """Draw z_BZ, differentiable in the parameters."""
        ...

    def kl(self) -> Tensor:
        """Give KL(q(z|x) || p(z)) per user (B,), in nats."""
        ...


@dataclass(frozen=True, slots=True)
class DiagonalGaussian:
    """A normal distribution with independent coordinates; the prior is standard normal.

    >>> gaussian = DiagonalGaussian(torch.zeros(1, 2), torch.zeros(1, 2))
    >>> float(gaussian.kl())
    0.0
    """

    mean_BZ: Tensor
    log_variance_BZ: Tensor

    def sample(self, noise: Noise, *, stream: int = 1) -> Tensor:
        """Draw z = mean + standard deviation x noise, with noise of variance 1.

        Args:
            noise: of the step and the users.
            stream: draws of different streams are independent.
        """
        epsilon_BZ = noise.normal(self.mean_BZ.shape[1], stream=stream).to(self.mean_BZ.dtype)
        return torch.addcmul(self.mean_BZ, torch.exp(0.5 * self.log_variance_BZ), epsilon_BZ)

    def kl(self) -> Tensor:
        r"""KL(q||N(0, 1)) = 1/2 sum_z (exp(s) + m^2 - 1 - s), s the log-variance, in nats.

        Source: D. P. Kingma, M. Welling, Auto-Encoding Variational Bayes, 2013, appendix B.
        """
        return self.kl_by_dimension().sum(dim=1)

    def kl_by_dimension(self) -> Tensor:
        """Give the same coordinate by coordinate, (B, Z), in nats."""
        variance_BZ = self.log_variance_BZ.exp()
        return 0.5 * (variance_BZ + self.mean_BZ.square() - 1.0 - self.log_variance_BZ)

    def kl_to(self, other: "DiagonalGaussian") -> Tensor:
        r"""Give the KL divergence to another normal distribution of each user, (B,), in nats.

        KL(N(m, e^s) || N(n, e^t)) = 1/2 sum_z (e^(s - t) + (m - n)^2 e^-t - 1 + t - s).
        """
        change_BZ = self.log_variance_BZ - other.log_variance_BZ
        distance_BZ = (self.mean_BZ - other.mean_BZ).square()
        scaled_BZ = distance_BZ * torch.exp(-other.log_variance_BZ)
        return 0.5 * (change_BZ.exp() + scaled_BZ - 1.0 - change_BZ).sum(dim=1)

    def log_density(self, z_BZ: Tensor) -> Tensor:
        """Give log q(z|x) of a point for each user, (B,), in nats."""
        distance_BZ = (z_BZ - self.mean_BZ).square()
        terms_BZ = distance_BZ * torch.exp(-self.log_variance_BZ) + self.log_variance_BZ + _LOG_2PI
        return -0.5 * terms_BZ.sum(dim=1)

    def entropy(self) -> Tensor:
        """Give -E_q[log q(z|x)] for each user, (B,), in nats."""
        return 0.5 * (self.log_variance_BZ + (1.0 + _LOG_2PI)).sum(dim=1)


@dataclass(frozen=True, slots=True)
class PointMass:
    """All probability on one point: an autoencoder without a distribution."""

    mean_BZ: Tensor

    def sample(self, noise: Noise) -> Tensor:
        """Give the point itself."""
        return self.mean_BZ

    def kl(self) -> Tensor:
        """Zero: there is no prior to diverge from."""
        return self.mean_BZ.new_zeros(self.mean_BZ.shape[0])

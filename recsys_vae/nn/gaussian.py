"""What an encoder returns: a distribution over the latent space, not a pair of tensors.

Legend: B users in the batch, Z latent width.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from recsys_vae.nn.noise import Noise


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
        """Draw z = mean + standard deviation x noise, with noise of variance 1."""
        epsilon_BZ = noise.normal(self.mean_BZ.shape[1], stream=stream).to(self.mean_BZ.dtype)
        return torch.addcmul(self.mean_BZ, torch.exp(0.5 * self.log_variance_BZ), epsilon_BZ)

    def kl(self) -> Tensor:
        r"""KL(q||N(0, 1)) = 1/2 sum_z (exp(s) + m^2 - 1 - s), s the log-variance, in nats.

        Source: D. P. Kingma, M. Welling, Auto-Encoding Variational Bayes, 2013, appendix B.
        """
        variance_BZ = self.log_variance_BZ.exp()
        terms_BZ = variance_BZ + self.mean_BZ.square() - 1.0 - self.log_variance_BZ
        return 0.5 * terms_BZ.sum(dim=1)


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

r"""Diffusion of latent points: how noise is added, and how it is taken away in a few steps.

Legend: B users in the batch, Z latent width, T steps of the noise, H hidden width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from recsys_vae.nn.precision import widened

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Gives x0_BZ for z_BZ at the times t_B."""


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    r"""q(z_t | x_0) = N(a_t x_0, b_t^2 I) with a_t = cos(w t / T) and b_t = sin(w t / T).

    w is asin(sqrt(v)).
    Times are 0..T; at 0 there is no noise, at T a share v of the variance is noise.

    Source of the process: J. Ho, A. Jain, P. Abbeel, Denoising Diffusion Probabilistic Models,
    2020, arXiv 2006.11239, equations 2 and 4, with a_t^2 for the cumulative product; that the
    noise stays below 1 so that a user's own taste is not washed out is DiffRec's (Wang et al.
    2023, arXiv 2304.04971). The even angle is ours.

    Args:
        steps: T.
        share: v, in (0, 1).

    >>> NoiseSchedule(steps=10, share=0.5).levels(torch.tensor([0, 10]))[0].flatten()
    tensor([1.0000, 0.7071])
    """

    steps: int
    share: float

    def levels(self, times_B: Tensor) -> tuple[Tensor, Tensor]:
        """Give a_t and b_t, (B, 1) each."""
        angles_B1 = self._angles(times_B)
        return torch.cos(angles_B1), torch.sin(angles_B1)

    def _angles(self, times_B: Tensor) -> Tensor:
        return (times_B * (math.asin(math.sqrt(self.share)) / self.steps))[:, None]

    def diffuse(self, z_BZ: Tensor, start_B: Tensor, end_B: Tensor, noise_BZ: Tensor) -> Tensor:
        r"""Add the noise between two times: z_t = (a_t / a_s) z_s + sqrt(1 - (a_t / a_s)^2) noise.

        From s = 0 this is the marginal a_t x_0 + b_t noise; from s to s it is the identity.

        Args:
            z_BZ: points at `start_B`.
            start_B: times s.
            end_B: times t, not before s.
            noise_BZ: standard normal.
        """
        from_B1, to_B1 = self._angles(start_B), self._angles(end_B)
        before_B1 = torch.cos(from_B1)
        # cos^2 f - cos^2 t, without the cancellation of near squares.
        added_B1 = torch.sin(to_B1 - from_B1) * torch.sin(to_B1 + from_B1)
        return (torch.cos(to_B1) * z_BZ + added_B1.sqrt() * noise_BZ) / before_B1

    def step_back(self, z_BZ: Tensor, x0_BZ: Tensor, start_B: Tensor, end_B: Tensor) -> Tensor:
        r"""Go from time t back to s, given what x_0 is thought to be, without new noise.

        .. math:: z_s = a_s \hat x_0 + b_s \frac{z_t - a_t \hat x_0}{b_t}

        J. Song, C. Meng, S. Ermon, Denoising Diffusion Implicit Models, 2020, arXiv 2010.02502,
        equation 12 with sigma = 0. To s = 0 this gives x_0, to s = t it gives z_t back.
        """
        (a_t, b_t), (a_s, b_s) = self.levels(start_B), self.levels(end_B)
        # 0 / 0 at t = 0, where there is no noise to keep a share of.
        kept_B1 = torch.where(b_t > 0, b_s / b_t.clamp_min(torch.finfo(b_t.dtype).tiny), 1.0)
        return kept_B1 * z_BZ + (a_s - kept_B1 * a_t) * x0_BZ

    def times(self, steps: int) -> list[int]:
        """Give steps + 1 times from T down to 0, as even as whole numbers can be.

        >>> NoiseSchedule(steps=10, share=0.5).times(4)
        [10, 8, 5, 2, 0]
        """
        return [round(self.steps * (steps - number) / steps) for number in range(steps + 1)]

    def restore(self, z_BZ: Tensor, denoiser: Denoiser, steps: int) -> Tensor:
        """Go from T back to 0 in a few steps; the same point always ends at the same place.

        Args:
            z_BZ: points at time T.
            denoiser: thinks what x_0 is.
            steps: 1..T.
        """
        times = [torch.full((len(z_BZ),), time, device=z_BZ.device) for time in self.times(steps)]
        for start_B, end_B in pairwise(times):
            z_BZ = self.step_back(z_BZ, denoiser(z_BZ, start_B), start_B, end_B)
        return z_BZ


class LatentDenoiser(nn.Module):
    r"""x_0 = c + W tanh(V [z_t, c, a_t, b_t] + v) + w: a correction of the condition.

    Args:
        latent: Z.
        hidden: H.
        schedule: tells how much of z_t is noise.
    """

    def __init__(self, latent: int, hidden: int, schedule: NoiseSchedule) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.schedule = schedule
        self.first = nn.Linear(2 * latent + 2, hidden)
        self.last = nn.Linear(hidden, latent)

    def forward(self, z_BZ: Tensor, condition_BZ: Tensor, times_B: Tensor) -> Tensor:
        """Give what x_0 is thought to be, x0_BZ."""
        levels = [level.to(z_BZ.dtype) for level in self.schedule.levels(times_B)]
        known = torch.cat([z_BZ, condition_BZ, *levels], dim=1)
        return condition_BZ + widened(self.last(torch.tanh(self.first(known))))

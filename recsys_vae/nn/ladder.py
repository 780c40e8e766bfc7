r"""Latent groups from the top down, each with a posterior that is told relative to its prior.

Legend: B users in the batch, L groups, W width of a group, H width of what is known of a user,
Z = L W.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn

from recsys_vae.nn.gaussian import DiagonalGaussian
from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened

# The top group draws what a single group would draw; the others follow far from other streams.
_TOP_STREAM, _LOWER_STREAMS = 1, 64


@dataclass(frozen=True, slots=True)
class ResidualGaussian:
    r"""q = N(m + d, exp(s + r)) against the prior p = N(m, exp(s)), coordinates independent.

    Source: A. Vahdat, J. Kautz, NVAE: A Deep Hierarchical Variational Autoencoder, 2020,
    arXiv 2007.03898, section 3.2: where prior and posterior move together, d and r stay.

    Attributes:
        prior_mean_BW: m.
        prior_log_variance_BW: s.
        shift_BW: d.
        log_ratio_BW: r, of the posterior's variance to the prior's.
    """

    prior_mean_BW: Tensor
    prior_log_variance_BW: Tensor
    shift_BW: Tensor
    log_ratio_BW: Tensor

    @property
    def mean_BW(self) -> Tensor:  # noqa: N802 # shape suffix
        """The posterior's mean."""
        return self.prior_mean_BW + self.shift_BW

    def sample(self, noise: Noise, stream: int) -> Tensor:
        """Draw from the posterior."""
        log_variance_BW = self.prior_log_variance_BW + self.log_ratio_BW
        return DiagonalGaussian(self.mean_BW, log_variance_BW).sample(noise, stream=stream)

    def kl(self) -> Tensor:
        """KL(q||p) = 1/2 sum_w (exp(r) + d^2 / exp(s) - 1 - r) per user (B,), in nats."""
        whitened_BW = self.shift_BW * torch.exp(-0.5 * self.prior_log_variance_BW)
        return DiagonalGaussian(whitened_BW, self.log_ratio_BW).kl()


def bounded(raw: Tensor, bound: float) -> Tensor:
    """Give bound tanh(raw / bound): within (-bound, bound), like raw near 0, never flat.

    >>> bounded(torch.tensor([0.0, 1e9]), 4.0)
    tensor([0., 4.])
    """
    return bound * torch.tanh(raw / bound)


@dataclass(frozen=True, slots=True)
class Descent:
    """One way down the ladder.

    Attributes:
        z_BZ: the points of all groups, the top group first.
        kl_BL: KL divergence of each group's posterior from its prior along this way, in nats.
    """

    z_BZ: Tensor
    kl_BL: Tensor


class Ladder(nn.Module):
    r"""L groups: z_1 ~ N(0, I), and z_l ~ N(m_l, exp(s_l)) with m_l, s_l read from z_1..z_{l-1}.

    .. math::
        c_l = H^{-1/2} \tanh\big(V_l\, \mathrm{norm}(\textstyle\sum_{j<l} U_j z_j)\big), \quad
        (m_l, s_l) = P_l c_l, \quad (d_l, r_l) = Q_l [h_l, c_l]

    What is known of the user, h_L, is read by the lowest group; h_l = tanh(R_l h_{l+1}) on the
    way up, as in C. K. Sonderby et al., Ladder Variational Autoencoders, NeurIPS 2016. The norm is
    a layer norm without parameters; the factor before the tanh makes c about as long as h, which
    begins small, because histories have length 1: else c would drown it. s_l and r_l below the top
    are bounded, so that no KL term can exceed a bound set by d alone. The top group's posterior is
    that of a plain VAE.

    Args:
        groups: L.
        width: W of a group.
        known: H.
        bound: of the log-variances below the top.
    """

    size: Tensor

    def __init__(self, groups: int, width: int, known: int, bound: float) -> None:
        """Build the layers; the caller initialises them."""
        super().__init__()
        self.groups, self.bound = groups, bound
        if groups > 1:
            # Among what is saved: a ladder from before it was scaled has none, and is refused.
            self.register_buffer("size", torch.tensor(known**-0.5))
        self.up = nn.ModuleList(nn.Linear(known, known) for _ in range(groups - 1))
        self.posterior = nn.Linear(known, 2 * width)
        self.carry = nn.ModuleList(nn.Linear(width, known) for _ in range(groups - 1))
        self.context = nn.ModuleList(nn.Linear(known, known) for _ in range(groups - 1))
        self.prior = nn.ModuleList(nn.Linear(known, 2 * width) for _ in range(groups - 1))
        self.residual = nn.ModuleList(nn.Linear(2 * known, 2 * width) for _ in range(groups - 1))

    def climb(self, known_BH: Tensor) -> list[Tensor]:
        """Give h_1..h_L, the top group's first."""
        rungs = [known_BH]
        for layer in self.up:
            rungs.append(torch.tanh(layer(rungs[-1])))
        return rungs[::-1]

    def descend(self, rungs: list[Tensor], noise: Noise | None = None) -> Descent:
        """Go down by samples, or without `noise` by the mean of each group given those above."""
        shift_BW, log_ratio_BW = widened(self.posterior(rungs[0])).chunk(2, dim=1)
        zero_BW = torch.zeros_like(shift_BW)
        groups = [ResidualGaussian(zero_BW, zero_BW, shift_BW, log_ratio_BW)]
        points = [_point(groups[0], noise, _TOP_STREAM)]
        state_BH: Tensor | None = None
        lower = zip(self.carry, self.context, self.prior, self.residual, strict=True)
        for number, (carry, context, prior, residual) in enumerate(lower, start=1):
            carried_BH = widened(carry(points[-1]))
            state_BH = carried_BH if state_BH is None else state_BH + carried_BH
            context_BH = torch.tanh(context(F.layer_norm(state_BH, state_BH.shape[1:])))
            context_BH = context_BH * self.size
            mean_BW, s_BW = widened(prior(context_BH)).chunk(2, dim=1)
            both_BH = torch.cat([rungs[number], context_BH], dim=1)
            shift_BW, r_BW = widened(residual(both_BH)).chunk(2, dim=1)
            group = ResidualGaussian(
                mean_BW, bounded(s_BW, self.bound), shift_BW, bounded(r_BW, self.bound)
            )
            groups.append(group)
            points.append(_point(group, noise, _LOWER_STREAMS + number))
        kl_BL = torch.stack([group.kl() for group in groups], dim=1)
        return Descent(torch.cat(points, dim=1), kl_BL)


def _point(group: ResidualGaussian, noise: Noise | None, stream: int) -> Tensor:
    return group.mean_BW if noise is None else group.sample(noise, stream)


@dataclass(frozen=True, slots=True)
class LadderPosterior:
    """q(z_1|x) q(z_2|z_1, x) ... of each user.

    Each group is normal given those above it; all of them together are not.

    Attributes:
        ladder: goes down.
        rungs: what each group is told of the users.
    """

    ladder: Ladder
    rungs: list[Tensor]

    @property
    def mean_BZ(self) -> Tensor:  # noqa: N802 # shape suffix
        """Where the means lead: exactly the mean for the top group, its image below."""
        return self.ladder.descend(self.rungs).z_BZ

    def sample(self, noise: Noise) -> Tensor:
        """Draw every group, from the top down."""
        return self.ladder.descend(self.rungs, noise).z_BZ

    def kl(self) -> Tensor:
        """Give the sum of the groups' KL divergences along the means, (B,), in nats."""
        return self.ladder.descend(self.rungs).kl_BL.sum(dim=1)


def balance(kl_BL: Tensor, warmth: float) -> Tensor:
    r"""Weigh the groups' KL terms against each other while training warms up.

    .. math:: \gamma_l = w + (1 - w) \frac{\mathrm{KL}_l}{\frac 1 L \sum_j \mathrm{KL}_j}

    A group that still says little is charged little, so that it is not switched off before it is
    of use; at w = 1 all are charged alike. The idea is NVAE's; there the coefficients
    are means over a batch, here each user has their own, so that they do not depend on who else
    is in the batch. A group's coefficient is at most L, and with one group it is 1.

    Args:
        kl_BL: KL terms, not negative.
        warmth: w, from 0 (cold) to 1.

    Returns:
        gamma_BL, without gradient.
    """
    kl_BL = kl_BL.detach().clamp_min(0.0)
    mean_B1 = kl_BL.mean(dim=1, keepdim=True)
    even_BL = torch.ones_like(kl_BL)
    share_BL = torch.where(mean_B1 > 0, kl_BL / mean_B1, even_BL)
    return torch.lerp(share_BL, even_BL, warmth)

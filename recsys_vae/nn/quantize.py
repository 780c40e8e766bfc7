r"""Discrete codes: a latent point cut into groups, each replaced by the nearest of its codes.

Legend: B users in the batch, G groups, K codes of a group, D width of a group, Z = G D.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 # the customary name
from torch import Tensor, nn

from recsys_vae.nn.noise import Noise
from recsys_vae.nn.precision import widened

# Streams of `Noise` for what is drawn per code; 0 to 2 are those of dropout, latent noise, items.
_PARENTS, _JITTER = 3, 4
# How far a revived code starts from its parent, against the size of the group's codes: enough
# to part the parent's users between the two, too little to lose them.
_JITTER_SIZE = 0.01


@dataclass(frozen=True, slots=True)
class Quantised:
    """A posterior that puts all probability on one code of each group.

    Attributes:
        mean_BZ: the chosen codes; the gradient passes on to what was quantised unchanged.
        codes_BG: their numbers, int64.
        commitment_B: squared distance of what was quantised from its codes, the mean over the
            groups of |z_g - sg(e_g)|^2.
        n_codes: K.
    """

    mean_BZ: Tensor
    codes_BG: Tensor
    commitment_B: Tensor
    n_codes: int

    def sample(self, noise: Noise) -> Tensor:
        """Give the codes: nothing is left to chance."""
        return self.mean_BZ

    def kl(self) -> Tensor:
        """G log K, the divergence from the uniform law over all codes, whatever was chosen."""
        n_users, n_groups = self.codes_BG.shape
        return self.mean_BZ.new_full((n_users,), n_groups * math.log(self.n_codes))


def straight_through(z: Tensor, e: Tensor) -> Tensor:
    """Give e, to the bit, with the gradient of z: dL/dz = dL/d(result).

    Source: A. van den Oord, O. Vinyals, K. Kavukcuoglu, Neural Discrete Representation Learning,
    2017, arXiv 1711.00937, section 3.2.

    >>> z = torch.tensor([0.3], requires_grad=True)
    >>> straight_through(z, torch.tensor([1.0])).square().backward()
    >>> z.grad
    tensor([2.])
    """
    # z - z is 0 exactly; the customary z + (e - z) would be e up to rounding only.
    return e.detach() + (z - z.detach())


def code_counts(codes_BG: Tensor, n_codes: int) -> Tensor:
    """Count how many users have each code: counts_GK."""
    return F.one_hot(codes_BG, n_codes).sum(dim=0)


def perplexity(codes_BG: Tensor, n_codes: int) -> Tensor:
    r"""exp(-sum_k p_k log p_k), p the shares of a group's codes, as a mean over the groups.

    1 if all users share one code, K if all codes are used alike.

    >>> perplexity(torch.tensor([[0], [1], [0], [1]]), n_codes=8)
    tensor(2.)
    """
    p_GK = code_counts(codes_BG, n_codes) / max(len(codes_BG), 1)
    entropy_G: Tensor = torch.special.entr(p_GK).sum(dim=1)
    return entropy_G.exp().mean()


class VectorQuantizer(nn.Module):
    r"""G codebooks of K codes; the codes follow what they stand for by moving averages.

    .. math::
        k_g = \arg\min_k |z_g - e_{gk}|^2, \qquad
        N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \qquad
        e_k \leftarrow e_k + \frac{1 - \gamma}{N_k} \sum_{u: k_u = k} (z_u - e_k)

    van den Oord et al., 2017, appendix A.1, with the average of the sums written as a step of the
    code, so that a code that nobody took stays where it is, to the bit.

    A code whose use N falls below a share of its group's mean is dead. It is put beside a code in
    use, drawn in proportion to its use, and the two share that use from then on: the split of
    Y. Linde, A. Buzo, R. Gray, An Algorithm for Vector Quantizer Design, 1980. It needs no user's
    data and follows from seed and step alone.

    Args:
        groups: G.
        codes: K of each group.
        width: D of each group.
        decay: gamma, in [0, 1).
        revive_below: share of the mean use below which a code is dead, in [0, 1); 0: never.
        generator: draws the codes to begin with.
    """

    codes_GKD: Tensor
    use_GK: Tensor

    def __init__(
        self,
        groups: int,
        codes: int,
        width: int,
        *,
        decay: float,
        revive_below: float,
        generator: torch.Generator,
    ) -> None:
        """Draw the codes from a normal law of standard deviation 0.1."""
        super().__init__()
        self.decay, self.revive_below = decay, revive_below
        drawn_GKD = 0.1 * torch.randn(groups, codes, width, generator=generator)
        self.register_buffer("codes_GKD", drawn_GKD)
        self.register_buffer("use_GK", torch.ones(groups, codes))
        self._seen_GKE: Tensor | None = None

    def nearest(self, z_BGD: Tensor) -> Tensor:
        """Give the numbers of the nearest codes, codes_BG; of equally near ones any."""
        # |z|^2 is the same for all codes and left out.
        lengths_GK = self.codes_GKD.square().sum(dim=2)
        z_GBD, codes_GDK = z_BGD.transpose(0, 1), self.codes_GKD.transpose(1, 2)
        distances_GBK = torch.baddbmm(lengths_GK[:, None], z_GBD, codes_GDK, alpha=-2.0)
        return distances_GBK.argmin(dim=2).T

    def look_up(self, codes_BG: Tensor) -> Tensor:
        """Give the codes of these numbers, e_BGD."""
        groups_G = torch.arange(codes_BG.shape[1], device=codes_BG.device)
        return self.codes_GKD[groups_G, codes_BG]

    def forward(self, z_BZ: Tensor) -> Quantised:
        """Replace each group by its nearest code; in training mode, remember who took what."""
        n_groups, n_codes, width = self.codes_GKD.shape
        with torch.autocast(z_BZ.device.type, enabled=False):
            z_BGD = widened(z_BZ).reshape(-1, n_groups, width)
            codes_BG = self.nearest(z_BGD.detach())
            e_BGD = self.look_up(codes_BG)
            if self.training:
                self._remember(z_BGD.detach(), codes_BG)
            commitment_B = (z_BGD - e_BGD).square().sum(dim=2).mean(dim=1)
            mean_BZ = straight_through(z_BGD, e_BGD).flatten(1)
        return Quantised(mean_BZ, codes_BG, commitment_B, n_codes)

    def _remember(self, z_BGD: Tensor, codes_BG: Tensor) -> None:
        """Add up, for each code, the points that took it, and how many they are."""
        points_GBE = F.pad(z_BGD, (0, 1), value=1.0).transpose(0, 1)
        # A product, not a scattered sum: the same order of additions on every device.
        chosen_GKB = F.one_hot(codes_BG, self.codes_GKD.shape[1]).permute(1, 2, 0)
        sums_GKE = torch.bmm(chosen_GKB.to(points_GBE.dtype), points_GBE)
        self._seen_GKE = sums_GKE if self._seen_GKE is None else self._seen_GKE + sums_GKE

    @torch.no_grad()
    def settle(self, noise: Noise, sum_up: Callable[[Tensor], Tensor]) -> None:
        """Move the codes towards the points that took them, and revive dead codes.

        Args:
            noise: of the step; only its seed and step matter.
            sum_up: adds a tensor up over the processes that train together.
        """
        n_groups, n_codes, width = self.codes_GKD.shape
        seen_GKE = self._seen_GKE
        if seen_GKE is None:
            seen_GKE = self.codes_GKD.new_zeros(n_groups, n_codes, width + 1)
        self._seen_GKE = None
        seen_GKE = sum_up(seen_GKE)
        sums_GKD, counts_GK = seen_GKE[..., :-1], seen_GKE[..., -1]
        self.use_GK.mul_(self.decay).add_(counts_GK, alpha=1.0 - self.decay)
        tiny = torch.finfo(self.use_GK.dtype).tiny
        step_GK = (1.0 - self.decay) / self.use_GK.clamp_min(tiny)
        away_GKD = sums_GKD - counts_GK[..., None] * self.codes_GKD
        # Where nobody took the code, `away` is 0 and the step may be large: still 0.
        self.codes_GKD.add_(away_GKD * step_GK[..., None])
        self._revive(noise)

    def _revive(self, noise: Noise) -> None:
        use_GK, codes_GKD = self.use_GK, self.codes_GKD
        dead_GK = use_GK < self.revive_below * use_GK.mean(dim=1, keepdim=True)
        if not bool(dead_GK.any()):
            return
        numbers = torch.arange(use_GK.numel(), device=use_GK.device)
        by_code = Noise(noise.seed, noise.step, numbers)
        drawn_GK = by_code.uniform(numbers, torch.zeros_like(numbers), stream=_PARENTS)
        # In double precision a draw below 1 stays below the last sum.
        heaped_GK = use_GK.masked_fill(dead_GK, 0.0).double().cumsum(dim=1)
        sought_GK = drawn_GK.view_as(use_GK).double() * heaped_GK[:, -1:]
        parents_GK = torch.searchsorted(heaped_GK, sought_GK, right=True)
        children_GK = torch.zeros_like(use_GK).scatter_add_(1, parents_GK, dead_GK.to(use_GK.dtype))
        shared_GK = use_GK / (1.0 + children_GK)
        self.use_GK.copy_(torch.where(dead_GK, shared_GK.gather(1, parents_GK), shared_GK))
        size_G = codes_GKD.square().mean(dim=(1, 2)).sqrt()
        jitter_GKD = by_code.normal(codes_GKD.shape[2], stream=_JITTER).view_as(codes_GKD)
        beside_GKD = self.look_up(parents_GK.T).transpose(0, 1)
        beside_GKD = beside_GKD + _JITTER_SIZE * size_G[:, None, None] * jitter_GKD
        self.codes_GKD.copy_(torch.where(dead_GK[..., None], beside_GKD, codes_GKD))

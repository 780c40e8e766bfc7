"""Random numbers addressed by (seed, step, stream, user): no state, so nothing to lose or share.

Every number is a hash of its address. A user's dropout mask and latent noise are therefore the
same whatever batch, shard or process the user lands in, a resumed run draws what the unbroken
one would have drawn, and CPU and GPU agree.

Legend: B users in the batch, N stored entries, Z latent width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def _shift(value: Tensor, bits: int) -> Tensor:
    """Shift right without copying the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def mix(value: Tensor) -> Tensor:
    """Scramble int64 numbers, wrapping around.

    Source: the finaliser of SplitMix64, G. L. Steele, D. Lea, C. H. Flood, Fast Splittable
    Pseudorandom Number Generators, OOPSLA 2014.
    """
    value = value + _GOLDEN
    value = (value ^ _shift(value, 30)) * _FIRST
    value = (value ^ _shift(value, 27)) * _SECOND
    return value ^ _shift(value, 31)


def _scramble_(value: Tensor) -> Tensor:
    """Do in place what `mix` does to the upper 33 bits of keys that are mixed already."""
    value.bitwise_xor_(_shift(value, 30)).mul_(_FIRST)
    return value.bitwise_xor_(_shift(value, 27)).mul_(_SECOND)


@dataclass(frozen=True, slots=True)
class Noise:
    """The random numbers of one step for the users of one batch.

    Args:
        seed: of the run.
        step: of the training.
        users: (B,) int64, a number per user that stays the same wherever the user is processed.

    >>> noise = Noise(seed=1, step=0, users=torch.tensor([4, 9]))
    >>> bool((noise.normal(3)[1] == Noise(1, 0, torch.tensor([9])).normal(3)[0]).all())
    True
    """

    seed: int
    step: int
    users: Tensor

    def _keys(self, stream: int) -> Tensor:
        key = torch.tensor([self.seed, self.step, stream], dtype=torch.int64)
        folded = mix(key[2] + mix(key[1] + mix(key[0])))
        return mix(self.users ^ folded.to(self.users.device))

    def uniform(self, users: Tensor, positions: Tensor, *, stream: int = 0) -> Tensor:
        """Draw one number in [0, 1) for each (user, position).

        Args:
            users: (N,) rows of the batch, 0..B-1.
            positions: (N,) int64, for example item numbers.
            stream: numbers of different streams are independent.

        Returns:
            (N,) float32.
        """
        keys_N = self._keys(stream).index_select(0, users)
        bits_N = _scramble_(keys_N.add_(positions, alpha=_GOLDEN))
        return _shift(bits_N, 40).to(torch.float32).mul_(2.0**-24)

    def generator(self, *, stream: int = 2) -> torch.Generator:
        """Make a generator for what is drawn once a step, for all users alike."""
        key = torch.tensor([self.seed, self.step, stream], dtype=torch.int64)
        folded = mix(key[2] + mix(key[1] + mix(key[0])))
        return torch.Generator(self.users.device).manual_seed(int(folded))

    def normal(self, width: int, *, stream: int = 1) -> Tensor:
        """Draw standard normal noise by the Box-Muller transform.

        Args:
            width: numbers per user, Z.
            stream: numbers of different streams are independent.

        Returns:
            noise_BZ, float32, mean 0 and variance 1.
        """
        half = (width + 1) // 2
        positions = torch.arange(half, dtype=torch.int64, device=self.users.device) * _GOLDEN
        bits_BH = _scramble_(self._keys(stream)[:, None] + positions)
        # (0, 1]: the logarithm stays finite.
        radius_BH = (_shift(bits_BH, 40).to(torch.float32) + 1.0).mul_(2.0**-24).log_()
        radius_BH = radius_BH.mul_(-2.0).sqrt_()
        angle_BH = bits_BH.bitwise_right_shift_(16).bitwise_and_(0xFFFFFF).to(torch.float32)
        angle_BH.mul_(2.0 * math.pi * 2.0**-24)
        pair = torch.cat([angle_BH.cos().mul_(radius_BH), angle_BH.sin_().mul_(radius_BH)], dim=1)
        return pair[:, :width]

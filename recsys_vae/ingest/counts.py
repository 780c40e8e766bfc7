"""How counts are distributed: quantiles, histogram, inequality, concentration."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat, NonNegativeInt

CountArray = npt.NDArray[np.int64]
Share = Annotated[float, Field(ge=0, le=1)]

_LEVELS: Final = {
    "min": 0.0, "1%": 0.01, "5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95,
    "99%": 0.99, "max": 1.0,
}  # fmt: skip
# Ten points within the first per cent: there most of a long tail's curve rises.
_TOP: Final = np.concatenate([np.arange(10) / 1000, np.arange(1, 101) / 100])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The distribution of one count per user, or per item.

    Attributes:
        number: users or items, those without an interaction too.
        total: interactions.
        mean: interactions each; 0 where there is nobody.
        quantiles: by name, "min", "1%" to "99%", "max"; interpolated; all 0 where there is nobody.
        none: how many have no interaction.
        one: how many have exactly one.
        histogram_from: smallest count of each bin: 0, 1, 2, 4, 8 ...
        histogram: how many lie in each bin, that is, from its smallest count to below the next.
        gini: Gini coefficient, 0 (all alike) to 1 - 1/number (one has all).
        top: shares of users or items, largest counts first, from 0 to 1.
        held: what share of the interactions those have; linear between whole users or items.
    """

    number: NonNegativeInt
    total: NonNegativeInt
    mean: FiniteFloat
    quantiles: dict[str, FiniteFloat]
    none: NonNegativeInt
    one: NonNegativeInt
    histogram_from: tuple[NonNegativeInt, ...]
    histogram: tuple[NonNegativeInt, ...]
    gini: Share
    top: tuple[Share, ...]
    held: tuple[Share, ...]

    def __post_init__(self) -> None:
        """Refuse what no data can have given, as from a file that was edited."""
        if self.histogram_from != _starts(len(self.histogram)):
            raise ValueError("the bins must start at 0, 1, 2, 4, 8 ...")
        if sum(self.histogram) != self.number:
            raise ValueError("the histogram must hold each user or item once")
        if self.quantiles.keys() != _LEVELS.keys():
            raise ValueError(f"the quantiles must be {', '.join(_LEVELS)}")
        if self.top != tuple(_TOP.tolist()) or len(self.held) != len(self.top):
            raise ValueError("the curve must have its fixed points")

    @classmethod
    def of(cls, counts: npt.NDArray[np.integer[Any]]) -> Self:
        """Describe counts.

        Args:
            counts: (N,) interactions of each user or item, >= 0, in any order.

        Returns:
            The description; it depends neither on the order nor on who has which count.

        >>> seen = Counts.of(np.array([1, 1, 2, 4]))
        >>> seen.mean, seen.histogram_from, seen.histogram
        (2.0, (0, 1, 2, 4), (0, 2, 1, 1))
        """
        ascending = np.sort(np.asarray(counts, dtype=np.int64))
        size, total = len(ascending), int(ascending.sum())
        values = np.quantile(ascending, list(_LEVELS.values())) if size else np.zeros(len(_LEVELS))
        bins = _bins(ascending)
        return cls(
            number=size,
            total=total,
            mean=total / size if size else 0.0,
            quantiles=dict(zip(_LEVELS, values.tolist(), strict=True)),
            none=int((ascending == 0).sum()),
            one=int((ascending == 1).sum()),
            histogram_from=_starts(len(bins)),
            histogram=tuple(bins.tolist()),
            gini=_gini(ascending, total),
            top=tuple(_TOP.tolist()),
            held=tuple(_held(ascending, total).tolist()),
        )

    def held_by(self, top: float) -> float:
        """Give the share of interactions that the top share `top` has, from the curve."""
        return float(np.interp(top, self.top, self.held))


def _starts(bins: int) -> tuple[int, ...]:
    return (0, *(2**power for power in range(bins - 1)))


def _bins(counts: CountArray) -> CountArray:
    # The binary exponent is exact where a rounded logarithm would not be: 0, 1, 2-3, 4-7 ...
    exponents = np.frexp(counts.astype(np.float64))[1]
    return np.bincount(exponents, minlength=1).astype(np.int64)


def _gini(ascending: CountArray, total: int) -> float:
    r"""Give :math:`G = \sum_i (2i - n - 1) x_{(i)} / (n \sum_i x_i)`, exact in integers."""
    size = len(ascending)
    if total == 0:
        return 0.0
    weights = 2 * np.arange(1, size + 1, dtype=np.int64) - size - 1
    return int(weights @ ascending) / (size * total)


def _held(ascending: CountArray, total: int) -> npt.NDArray[np.float64]:
    if total == 0:  # nobody has more than anybody else
        return _TOP
    sums = np.concatenate([[0], np.cumsum(ascending[::-1])])
    held = np.interp(_TOP * len(ascending), np.arange(len(sums)), sums) / total
    # Interpolation rounds: without this a flat stretch could fall by a last bit.
    return np.minimum(np.maximum.accumulate(held), 1.0)

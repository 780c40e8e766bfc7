"""When interactions happened: the span, and how many a period."""

from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeInt, PositiveInt

Times = npt.NDArray[np.int64]
Unit = Literal["day", "month", "year"]

UNKNOWN_TIME: Final = np.iinfo(np.int64).min
"""Stands for no time, as NumPy's NaT does."""

_DAY: Final = 86_400_000
_CODES: Final[dict[Unit, str]] = {"day": "D", "month": "M", "year": "Y"}
_MOST_DAYS: Final = 92
_MOST_PERIODS: Final = 600
_DAYS_COUNTED_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Interactions per day, month or year (UTC), whichever gives at most 600 periods.

    Attributes:
        first_ms: earliest time, milliseconds since 1970-01-01 UTC.
        last_ms: latest time.
        missing: interactions without a time.
        unit: "day" up to about three months, "month" up to 50 years, "year" beyond.
        step: so many units make a period; 1 unless the years are more than 600.
        counts: interactions of each period, the first holds `first_ms`, the last `last_ms`.
    """

    first_ms: int
    last_ms: int
    missing: NonNegativeInt
    unit: Unit
    step: PositiveInt
    counts: tuple[NonNegativeInt, ...]

    def __post_init__(self) -> None:
        """Refuse what no data can have given, as from a file that was edited."""
        if not UNKNOWN_TIME < self.first_ms <= self.last_ms < 2**63:
            raise ValueError("times must be 64-bit milliseconds, the first before the last")
        ends = np.array([self.first_ms, self.last_ms]) // _DAY
        first, last = _numbers(ends, self.unit) // self.step
        if last - first + 1 != len(self.counts):
            raise ValueError("there must be one count a period")

    @classmethod
    def of(cls, times: Times) -> Self | None:
        """Count interactions by period.

        Args:
            times: (N,) milliseconds since 1970-01-01 UTC, `UNKNOWN_TIME` where there is none.

        Returns:
            The timeline, or None where no interaction has a time.

        >>> Timeline.of(np.array([0, 1, 5 * 86_400_000])).counts
        (2, 0, 0, 0, 0, 1)
        """
        known = times[times != UNKNOWN_TIME]
        if not len(known):
            return None
        # Days first: a calendar is consulted once a day that occurs, not once an interaction.
        per_row = known // _DAY
        earliest = int(per_row.min())
        if int(per_row.max()) - earliest < _DAYS_COUNTED_AT_ONCE:
            per_day = np.bincount(per_row - earliest)
            offsets = np.flatnonzero(per_day)
            days, weights = offsets + earliest, per_day[offsets]
        else:
            days, weights = np.unique(per_row, return_counts=True)
        unit, step = _period(days)
        periods = _numbers(days, unit) // step
        counts = np.bincount(periods - periods[0], weights=weights).astype(np.int64)
        return cls(
            first_ms=int(known.min()),
            last_ms=int(known.max()),
            missing=len(times) - len(known),
            unit=unit,
            step=step,
            counts=tuple(counts.tolist()),
        )

    def edges(self) -> npt.NDArray[np.datetime64]:
        """Give where the periods begin, and where the last one ends: one more than counts."""
        first = int(_numbers(np.array([self.first_ms // _DAY]), self.unit)[0]) // self.step
        numbers = (first + np.arange(len(self.counts) + 1)) * self.step
        return numbers.astype(f"datetime64[{_CODES[self.unit]}]")


def _numbers(days: Times, unit: Unit) -> Times:
    """Number days, months or years from 1970 on."""
    return days.astype("datetime64[D]").astype(f"datetime64[{_CODES[unit]}]").astype(np.int64)


def _period(days: Times) -> tuple[Unit, int]:
    ends = days[[0, -1]]
    if ends[1] - ends[0] < _MOST_DAYS:
        return "day", 1
    months = _numbers(ends, "month")
    if months[1] - months[0] < _MOST_PERIODS:
        return "month", 1
    years, step = _numbers(ends, "year"), 1
    while years[1] // step - years[0] // step >= _MOST_PERIODS:
        step *= 10
    return "year", step

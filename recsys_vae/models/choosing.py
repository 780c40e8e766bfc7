"""Choices on validation that chance alone does not make."""

import math
from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

_ERRORS: Final = 2.0
"""Standard errors of a difference that few users could make by chance."""
_FACTOR: Final = 3.0
_FURTHEST: Final = 0.99 * _FACTOR**3
"""How far the third step goes, and no further whatever rounding does."""


class Validation(float):
    """What validation users say of a model: the mean of a metric, and each user's own.

    Attributes:
        per_user: the metric of each user, NaN where there is none; the same users for every model.

    >>> Validation(np.array([0.25, np.nan, 0.75]))
    0.5
    """

    per_user: npt.NDArray[np.float64]

    def __new__(cls, per_user: npt.ArrayLike) -> Self:
        """Take the mean over the users who have one; NaN where nobody has."""
        values = np.asarray(per_user, dtype=np.float64)
        known = values[~np.isnan(values)]
        made = super().__new__(cls, float(known.mean()) if len(known) else math.nan)
        made.per_user = values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy by what it was made of."""
        return type(self), (self.per_user,)


def better(one: float, other: float) -> bool:
    """Say whether one metric is higher than another; any number is better than none.

    >>> better(0.2, 0.1), better(0.1, math.nan), better(math.nan, math.nan)
    (True, True, False)
    """
    return one > other or (math.isnan(other) and not math.isnan(one))


def beyond(best: float, candidates: Sequence[float]) -> float | None:
    """Give what to try next where the best value is the largest of the candidates, or beyond it.

    Three times as much, up to the third such step; None otherwise. Not below the smallest: a fit
    whose candidates can all be learned must not end at a ridge that is too small.

    >>> beyond(540.0, [60.0, 20.0, 180.0, 540.0]), beyond(180.0, [60.0, 20.0, 180.0, 540.0])
    (1620.0, None)
    """
    largest = max(candidates)
    return best * _FACTOR if largest <= best < largest * _FURTHEST else None


def clearly_better(one: float, other: float) -> bool:
    """Say whether a model is better than another by more than chance makes of few users.

    That is by more than two standard errors of the mean difference between the same users, after
    the rule of one standard error of Breiman et al., Classification and Regression Trees (1984,
    section 3.4.3). Of plain numbers nothing is known but which is larger.

    Args:
        one: a metric, higher is better.
        other: the same of the other model; not finite: anything finite is better.

    >>> few = Validation([0.5, 0.1, 0.3]), Validation([0.4, 0.2, 0.1])
    >>> few[0] > few[1], clearly_better(*few), clearly_better(0.3, 0.2)
    (True, False, True)
    """
    if not (isinstance(one, Validation) and isinstance(other, Validation)) or math.isnan(other):
        return better(one, other)
    difference = one.per_user - other.per_user
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        return False
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return bool(difference.mean() > _ERRORS * error)

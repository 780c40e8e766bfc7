"""Means over users, with bootstrap intervals.

Legend: U users, M metrics, R resamples, S seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recsys_vae.evaluation.metrics import PerUser

RESAMPLES: Final = 2_000
_WEIGHTS_AT_ONCE: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users and its 95 % interval.

    Attributes:
        mean: over the judged users.
        low: 2.5 % quantile of the bootstrap means; NaN for a measure of all lists together.
        high: 97.5 % quantile.
        users: judged users.
        left_out: users without held-out items.
    """

    mean: float
    low: float
    high: float
    users: int
    left_out: int

    def __str__(self) -> str:
        """Give the mean with its interval."""
        if np.isnan(self.low) and not np.isnan(self.mean):
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def resampled(n_users: int, *, seed: int, resamples: int) -> Iterator[npt.NDArray[np.float32]]:
    """Draw users with replacement, again and again.

    Yields:
        Blocks (r, U) of how often each user was drawn; r adds up to `resamples`. They depend on
        seed and number of users alone, so that all metrics and models meet the same draws.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, min(resamples, _WEIGHTS_AT_ONCE // max(n_users, 1)))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = rng.integers(n_users, size=(size, n_users))
        drawn += np.arange(size)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=size * n_users)
        yield counts.reshape(size, n_users).astype(np.float32)


def bootstrap_means(
    values_UM: npt.NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> npt.NDArray[np.float64]:
    """Give the means over resampled users: (R, M); NaN marks who is not judged.

    One product with the draws for all columns, so that many metrics cost little more than one.
    """
    judged_UM = ~np.isnan(values_UM)
    filled_UM = np.where(judged_UM, values_UM, 0.0)
    # Where columns leave out the same users, as they nearly always do, one count serves them all.
    same = bool((judged_UM == judged_UM[:, :1]).all())
    counted = judged_UM[:, :1] if same else judged_UM
    columns = np.concatenate([filled_UM, counted], axis=1)
    means: list[npt.NDArray[Any]] = []
    for weights in resampled(len(values_UM), seed=seed, resamples=resamples):
        totals = weights.astype(np.float64) @ columns
        sums, counts = totals[:, : values_UM.shape[1]], totals[:, values_UM.shape[1] :]
        means.append(sums / np.where(counts > 0, counts, np.nan))
    return np.concatenate(means)


def bootstrap(per_user: PerUser, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Estimate one mean over users; see `estimates`.

    >>> bootstrap(np.array([1.0, 1.0, np.nan]))
    Estimate(mean=1.0, low=1.0, high=1.0, users=2, left_out=1)
    """
    return estimates({"": per_user}, seed=seed, resamples=resamples)[""]


def estimates(
    per_user: Mapping[str, PerUser], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Estimate means over users by the percentile bootstrap.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        per_user: by metric, one value a user, the same users in all; NaN marks who is not judged.
        seed: of the resampling.
        resamples: number of bootstrap means.

    Returns:
        Mean and interval by metric; NaN where nobody is judged.
    """
    if not per_user:
        return {}
    values_UM = np.stack(list(per_user.values()), axis=1)
    judged_UM = ~np.isnan(values_UM)
    found = {}
    nan = float("nan")
    usable = np.flatnonzero(judged_UM.any(axis=0))
    bounds = np.full((2, values_UM.shape[1]), nan)
    if len(usable):
        means = bootstrap_means(values_UM[:, usable], seed=seed, resamples=resamples)
        bounds[:, usable] = np.nanquantile(means, [0.025, 0.975], axis=0)
    for column, name in enumerate(per_user):
        judged = judged_UM[:, column]
        users = int(judged.sum())
        mean = float(values_UM[judged, column].mean()) if users else nan
        low, high = bounds[:, column].tolist()
        found[name] = Estimate(mean, low, high, users, len(judged) - users)
    return found

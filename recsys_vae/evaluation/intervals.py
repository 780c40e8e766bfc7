"""Means over users, with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

from recsys_vae.evaluation.metrics import PerUser

RESAMPLES = 2_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users and its 95 % interval.

    Attributes:
        mean: over the judged users.
        low: 2.5 % quantile of the bootstrap means.
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
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap(per_user: PerUser, *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Estimate the mean over users by the percentile bootstrap.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        per_user: one value a user; NaN marks users that are not judged.
        seed: of the resampling.
        resamples: number of bootstrap means.

    Returns:
        Mean and interval; NaN where nobody is judged.

    >>> bootstrap(np.array([1.0, 1.0, np.nan]))
    Estimate(mean=1.0, low=1.0, high=1.0, users=2, left_out=1)
    """
    judged = per_user[~np.isnan(per_user)]
    left_out = len(per_user) - len(judged)
    if not len(judged):
        return Estimate(float("nan"), float("nan"), float("nan"), 0, left_out)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In blocks: resamples x users would be 160 MB for ten thousand users.
    for start in range(0, resamples, 100):
        picked = rng.integers(len(judged), size=(min(100, resamples - start), len(judged)))
        means[start : start + 100] = judged[picked].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(judged.mean()), float(low), float(high), len(judged), left_out)

"""Who is ahead: paired randomisation tests, effect sizes, corrections for many comparisons.

Legend: U users, P pairs of models, R rounds, S seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recsys_vae.evaluation.intervals import RESAMPLES, bootstrap_means
from recsys_vae.evaluation.metrics import PerUser

ROUNDS: Final = 10_000
_SIGNS_AT_ONCE: Final = 1 << 22
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one model is ahead of another on the same users.

    Attributes:
        mean: of the differences, the first model minus the second.
        low: 2.5 % quantile of its bootstrap.
        high: 97.5 % quantile.
        effect: Cohen's d of paired values, mean / standard deviation of the differences; 0 where
            there is no difference, infinite where all users have the same one.
        wins: users for whom the first has more; what lies within rounding is no difference.
        losses: users for whom it has less.
        users: judged users.
        p: two-sided, of the randomisation test.
    """

    mean: float
    low: float
    high: float
    effect: float
    wins: int
    losses: int
    users: int
    p: float


def randomisation_p(
    differences_UP: npt.NDArray[np.float64], *, seed: int = 0, rounds: int = ROUNDS
) -> npt.NDArray[np.float64]:
    """Test whether the mean of paired differences is 0.

    Were the models alike, each user's difference could as well have the other sign. p is the share
    of random sign patterns, the one that was seen among them, whose mean is at least as far from 0
    as the one that was seen; the smallest is 1 / (rounds + 1).

    Source: R. A. Fisher, The Design of Experiments, 1935; for retrieval M. Smucker et al., A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation, CIKM 2007.

    Args:
        differences_UP: of the judged users, a column a pair.
        seed: of the signs, which are the same for all pairs.
        rounds: random sign patterns.

    Returns:
        (P,) two-sided.

    >>> randomisation_p(np.ones((20, 1)), rounds=999)
    array([0.001])
    """
    n_users, n_pairs = differences_UP.shape
    seen = np.abs(differences_UP.sum(axis=0))
    # Sums of the same terms in another order must not count as smaller.
    bar = seen - _ROUNDING * np.abs(differences_UP).sum(axis=0)
    rng = np.random.default_rng(seed)
    as_far = np.zeros(n_pairs, dtype=np.int64)
    at_once = max(1, min(rounds, _SIGNS_AT_ONCE // max(n_users, 1)))
    for start in range(0, rounds, at_once):
        size = min(at_once, rounds - start)
        bits = rng.integers(0, 256, (size, (n_users + 7) // 8), dtype=np.uint8)
        flips = np.unpackbits(bits, axis=1, count=n_users)
        # sum of +-d = sum of d - 2 sum of the flipped d
        sums = differences_UP.sum(axis=0) - 2 * (flips.astype(np.float64) @ differences_UP)
        as_far += (np.abs(sums) >= bar).sum(axis=0)
    p: npt.NDArray[np.float64] = (as_far + 1) / (rounds + 1)
    return p


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons (family-wise error); NaN is none and stays.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal
    of Statistics 6(2), 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    made = [index for index, one in enumerate(p) if not math.isnan(one)]
    corrected, highest = [math.nan] * len(p), 0.0
    for place, index in enumerate(sorted(made, key=lambda one: p[one])):
        highest = max(highest, min(1.0, (len(made) - place) * p[index]))
        corrected[index] = highest
    return corrected


def differences(
    pairs: Sequence[tuple[PerUser, PerUser]], *, seed: int = 0, rounds: int = ROUNDS
) -> list[Difference]:
    """Compare pairs of models on the same users.

    Args:
        pairs: per-user values of two models each; NaN marks users who are not judged; all pairs
            have the same users.
        seed: of the tests and intervals.
        rounds: random sign patterns.

    Returns:
        One entry a pair; NaN where nobody is judged by both.
    """
    found = []
    if not pairs:
        return []
    all_UP = np.stack([one - other for one, other in pairs], axis=1)
    # What lies within rounding is no difference.
    all_UP[np.abs(all_UP) <= _ROUNDING] = 0.0
    judged_UP = ~np.isnan(all_UP)
    # A user who is left out has no difference, and a sign would not change it.
    filled_UP = np.where(judged_UP, all_UP, 0.0)
    p = randomisation_p(filled_UP, seed=seed, rounds=rounds)
    bounds = np.full((2, len(pairs)), np.nan)
    usable = np.flatnonzero(judged_UP.any(axis=0))
    if len(usable):
        means = bootstrap_means(all_UP[:, usable], seed=seed, resamples=RESAMPLES)
        bounds[:, usable] = np.nanquantile(means, [0.025, 0.975], axis=0)
    for column in range(len(pairs)):
        values = all_UP[judged_UP[:, column], column]
        if not len(values):
            nan = float("nan")
            found.append(Difference(nan, nan, nan, nan, 0, 0, 0, nan))
            continue
        # Equal values have no spread, though their computed mean may be off by a last bit.
        spread = float(values.std(ddof=1)) if np.ptp(values) > _ROUNDING else 0.0
        mean, (low, high) = float(values.mean()), bounds[:, column].tolist()
        found.append(
            Difference(
                mean=mean,
                low=low,
                high=high,
                effect=mean / spread
                if spread > 0
                else float(np.sign(mean)) * float("inf")
                if mean
                else 0.0,
                wins=int((values > _ROUNDING).sum()),
                losses=int((values < -_ROUNDING).sum()),
                users=len(values),
                p=float(p[column]),
            )
        )
    return found

"""Leaderboards: models on the same users, with intervals, tests and marks.

Legend: U users, S seeds, R resamples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.intervals import RESAMPLES, Estimate, bootstrap_means
from recsys_vae.evaluation.measures import parse_metric
from recsys_vae.evaluation.metrics import PerUser
from recsys_vae.evaluation.significance import Difference, differences, holm

_Named = TypeVar("_Named")

MARKS: Final = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
"""What stands beside a mean that is behind the best one, by corrected p."""
BEST: Final = "(best)"
_COLUMNS_AT_ONCE: Final = 256
_VALUES_AT_ONCE: Final = 1 << 26


@dataclass(frozen=True, slots=True)
class Entry:
    """One model in a comparison.

    Attributes:
        label: how it is called.
        seeds: of its fits.
        per_user: by metric, (S, U) values in the order of the seeds; NaN: not judged.
        overall: by measure of all lists together, one value a seed.
    """

    label: str
    seeds: tuple[int, ...]
    per_user: Mapping[str, npt.NDArray[np.float64]]
    overall: Mapping[str, tuple[float, ...]]

    def mean_over_seeds(self, metric: str) -> PerUser:
        """Give (U,) each user's mean over the seeds."""
        mean: PerUser = self.per_user[metric].mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Comparison:
    """Who is ahead, and how surely.

    Attributes:
        leaderboard: a row a model and metric: `model`, `seeds`, `metric`, `mean`, `low`, `high`,
            `users`, `left_out`, `best`, and against the best: `difference` with `difference_low`
            and `difference_high`, `effect`, `wins` and `losses` (users for whom the model is
            better, and worse), `p`, `p_holm`, `mark`.
        pairs: the same for every pair of models, corrected over all pairs of the metric.
        primary: the metric that the models are sorted by.
    """

    leaderboard: pd.DataFrame
    pairs: pd.DataFrame
    primary: str

    def table(self, metrics: Sequence[str]) -> pd.DataFrame:
        """Give what a person reads: a row a model, means with intervals and marks."""
        rows = []
        for model in self.leaderboard["model"].unique():
            row: dict[str, str] = {"model": model}
            own = self.leaderboard[self.leaderboard["model"] == model].set_index("metric")
            for metric in metrics:
                row[metric] = f"{self._shown(own.loc[metric])} {own.loc[metric, 'mark']}".rstrip()
            rows.append(row)
        return pd.DataFrame(rows)

    def against_best(self) -> pd.DataFrame:
        """Give the rows of the primary metric that were tested against the best one's."""
        own = self.leaderboard[self.leaderboard["metric"] == self.primary]
        return own[~own["best"] & own["users"].gt(0)] if "p" in own else own.iloc[:0]

    @staticmethod
    def _shown(row: Any) -> str:
        return str(Estimate(row["mean"], row["low"], row["high"], 0, 0))


def mark_of(p: float) -> str:
    """Give the stars for a corrected p.

    >>> mark_of(0.03), mark_of(0.5)
    ('*', '')
    """
    return next((stars for bound, stars in MARKS if p < bound), "")


def compare(entries: Sequence[Entry], primary: str, *, seed: int = 0) -> Comparison:
    """Compare models on the same users.

    For every metric each model is tested against the one with the best mean, by a paired
    randomisation test on the users' means over seeds, corrected by Holm's method for the number of
    models; and every pair of models likewise, corrected for the number of pairs.

    Args:
        entries: the models, all with the same users and metrics.
        primary: the metric to sort by.
        seed: of resampling and tests.

    Raises:
        InputError: nothing can be compared, or `primary` is not among the metrics.
    """
    if not entries:
        raise InputError("there is no model to compare: name evaluations")
    metrics = [*entries[0].per_user, *entries[0].overall]
    if primary not in metrics:
        raise InputError(
            f"--by {primary} is not among the metrics {', '.join(metrics)}: name one of them, or "
            "evaluate again with --metrics"
        )
    rows: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    order: list[str] = []
    estimates = _estimates(entries, seed)
    tests = _tests(entries, seed)
    for metric in [primary, *(one for one in metrics if one != primary)]:
        sign = -1.0 if parse_metric(metric).higher_is_better else 1.0
        found = {one.label: estimates[one.label, metric] for one in entries}
        means = [sign * found[one.label].mean for one in entries]
        ranked = [entries[place] for place in np.argsort(means, kind="stable")]
        order = order or [one.label for one in ranked]
        tested = tests.get(metric, {})
        pairs += _pair_rows(tested, metric)
        rows += _rows(ranked, found, tested, metric)
    place = {label: number for number, label in enumerate(order)}
    leaderboard = pd.DataFrame(rows)
    leaderboard = leaderboard.sort_values("model", key=lambda one: one.map(place), kind="stable")
    return Comparison(leaderboard.reset_index(drop=True), pd.DataFrame(pairs), primary)


def _estimates(entries: Sequence[Entry], seed: int) -> dict[tuple[str, str], Estimate]:
    """Give means with intervals over users and, where there are several, over seeds."""
    nan = float("nan")
    found: dict[tuple[str, str], Estimate] = {}
    for one in entries:
        for metric, values in one.overall.items():
            found[one.label, metric] = Estimate(float(np.mean(values)), nan, nan, 0, 0)
    named = [(one, metric, values) for one in entries for metric, values in one.per_user.items()]
    # Many columns at once: the draws are the costly part, and the same for all.
    for part in _parts(named, entries):
        columns = np.concatenate([values for _, _, values in part]).T
        stop = 0
        for _, _, values_SU in part:
            begin, stop = stop, stop + len(values_SU)
            # A user counts where every seed has a value, in the mean and in the resamples alike.
            columns[np.isnan(columns[:, begin:stop]).any(axis=1), begin:stop] = np.nan
        judged_UM = ~np.isnan(columns)
        means = bootstrap_means(columns, seed=seed, resamples=RESAMPLES)
        stop = 0
        for entry, metric, values_SU in part:
            begin, stop = stop, stop + len(values_SU)
            means_RS = means[:, begin:stop]
            # Seeds are drawn anew, too: another run would meet other users and other luck.
            rng = np.random.default_rng([seed, 1])
            picked = rng.integers(stop - begin, size=means_RS.shape)
            drawn = np.take_along_axis(means_RS, picked, axis=1).mean(axis=1)
            judged = judged_UM[:, begin]
            users = int(judged.sum())
            low, high = np.nanquantile(drawn, [0.025, 0.975]).tolist() if users else (nan, nan)
            mean = float(values_SU[:, judged].mean()) if users else nan
            found[entry.label, metric] = Estimate(mean, low, high, users, len(judged) - users)
    return found


_Tested = dict[tuple[str, str], Difference]


def _tests(entries: Sequence[Entry], seed: int) -> dict[str, _Tested]:
    """Compare every pair of models by every metric: differences by metric and pair."""
    named = [
        (metric, one, other)
        for metric in entries[0].per_user
        for one, other in combinations(entries, 2)
    ]
    tested: dict[str, _Tested] = {}
    for part in _parts(named, entries):
        wanted = {(each.label, metric): each for metric, *both in part for each in both}
        means = {key: each.mean_over_seeds(key[1]) for key, each in wanted.items()}
        values = [
            (means[one.label, metric], means[other.label, metric]) for metric, one, other in part
        ]
        found = differences(values, seed=seed)
        for (metric, one, other), difference in zip(part, found, strict=True):
            tested.setdefault(metric, {})[one.label, other.label] = difference
    return tested


def _parts(named: list[_Named], entries: Sequence[Entry]) -> Iterator[list[_Named]]:
    """Give so many columns at once that they fit into memory, whatever the number of users."""
    one = next(iter(entries[0].per_user.values()), np.empty((1, 0)))
    n_fits = max(len(entry.seeds) for entry in entries)
    at_once = max(1, min(_COLUMNS_AT_ONCE, _VALUES_AT_ONCE // max(n_fits * one.shape[1], 1)))
    for start in range(0, len(named), at_once):
        yield named[start : start + at_once]


def _pair_rows(tested: _Tested, metric: str) -> list[dict[str, Any]]:
    more = parse_metric(metric).higher_is_better
    corrected = holm([one.p for one in tested.values()])
    return [
        {"metric": metric, "model": one, "other": other, **_columns(difference, p, more=more)}
        for ((one, other), difference), p in zip(tested.items(), corrected, strict=True)
    ]


def _rows(
    ranked: Sequence[Entry], found: Mapping[str, Estimate], tested: _Tested, metric: str
) -> list[dict[str, Any]]:
    best = ranked[0].label
    more = parse_metric(metric).higher_is_better
    against = {one.label: _between(tested, one.label, best) for one in ranked[1:] if tested}
    corrected = dict(zip(against, holm([one.p for one in against.values()]), strict=True))
    rows = []
    for one in ranked:
        estimate = found[one.label]
        row: dict[str, Any] = {"model": one.label, "seeds": len(one.seeds), "metric": metric}
        row |= asdict(estimate)
        # Where nobody could be judged, nobody is best.
        row["best"] = one.label == best and not np.isnan(estimate.mean)
        if one.label in against:
            row |= _columns(against[one.label], corrected[one.label], more=more)
        # Of other users alone a model may be behind, and ahead of those whom both were judged by.
        behind = row.get("difference", 0.0) * (1 if more else -1) < 0
        row["mark"] = BEST if row["best"] else mark_of(row.get("p_holm", 1.0) if behind else 1.0)
        rows.append(row)
    return rows


def _between(tested: _Tested, one: str, other: str) -> Difference:
    if (one, other) in tested:
        return tested[one, other]
    turned = tested[other, one]
    return Difference(
        -turned.mean, -turned.high, -turned.low, -turned.effect, turned.losses, turned.wins,
        turned.users, turned.p,
    )  # fmt: skip


def _columns(difference: Difference, p_holm: float, *, more: bool) -> dict[str, Any]:
    better, worse = difference.wins, difference.losses
    if not more:
        better, worse = worse, better
    return {
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "effect": difference.effect,
        "wins": better,
        "losses": worse,
        "p": difference.p,
        "p_holm": p_holm,
    }

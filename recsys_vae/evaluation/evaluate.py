"""Judge a recommender on users whose items are given in part and held out in part."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.intervals import Estimate, bootstrap
from recsys_vae.evaluation.metrics import PerUser, hits, ndcg, recall
from recsys_vae.models.base import Recommender, check_items
from recsys_vae.ranking import NotFiniteError, rank
from recsys_vae.splitting import FoldIn

METRICS: Final = {"recall": recall, "ndcg": ndcg}
DEFAULT_METRICS: Final = ("recall@20", "recall@50", "ndcg@100")
_SCORES_AT_ONCE: Final = 2**26


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One number per user and metric.

    Attributes:
        per_user: by metric name, such as "ndcg@100"; NaN for users without held-out items.
        user_ids: external ids, in the same order.
    """

    per_user: dict[str, PerUser]
    user_ids: list[object]

    def estimates(self, *, seed: int = 0) -> dict[str, Estimate]:
        """Give means with intervals, by metric name."""
        return {name: bootstrap(values, seed=seed) for name, values in self.per_user.items()}

    def frame(self) -> pd.DataFrame:
        """Give a tidy frame: user, metric, value."""
        wide = pd.DataFrame({"user": self.user_ids, **self.per_user})
        return wide.melt("user", var_name="metric", value_name="value")


def parse_metric(name: str) -> tuple[str, int]:
    """Split "recall@20" into the metric and k.

    Raises:
        InputError: the metric is unknown or k is no number >= 1.

    >>> parse_metric("ndcg@100")
    ('ndcg', 100)
    """
    metric, _, k = name.partition("@")
    if metric not in METRICS or not re.fullmatch("[1-9][0-9]{0,8}", k):
        raise InputError(
            f"there is no metric '{name}': write one of {', '.join(METRICS)} with a list length, "
            "for example ndcg@100"
        )
    return metric, int(k)


def evaluate(
    model: Recommender,
    fold: FoldIn,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    block: int | None = None,
) -> Evaluation:
    """Rank all items that were not given, and judge the lists.

    Args:
        model: fitted.
        fold: given and held-out items of the same users.
        metrics: such as "recall@20"; a k beyond the catalogue judges the whole catalogue.
        block: users scored at once, by default as many as 256 MiB of scores hold, at most 500; it
            does not change the result.

    Returns:
        The metrics, user by user.

    Raises:
        InputError: a metric is unknown or the items are not the model's.
    """
    check_items(model, fold.given.items, "the held-out users")
    asked = {name: parse_metric(name) for name in metrics}
    n_users, n_items = fold.given.matrix.shape
    longest = min(n_items, max(k for _, k in asked.values()))
    if block is None:
        block = max(1, min(500, _SCORES_AT_ONCE // n_items))
    collected: dict[str, list[PerUser]] = {name: [] for name in asked}
    for start in range(0, n_users, block):
        given = fold.given.matrix[start : start + block]
        held_out = fold.held_out.matrix[start : start + block]
        lists = rank(model.score(given), given, longest)
        hits_BK = hits(lists, held_out)
        for name, (metric, k) in asked.items():
            collected[name].append(METRICS[metric](hits_BK, held_out, min(k, longest)))
    per_user = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Evaluation(per_user, fold.given.users.to_arrow().to_pylist())


def mean_metric(model: Recommender, fold: FoldIn, metric: str) -> float:
    """Give the mean of one metric over the judged users, for early stopping.

    Returns:
        The mean, or NaN where the model gives scores that are not finite.

    Raises:
        InputError: no user has held-out items.
    """
    try:
        values = evaluate(model, fold, [metric]).per_user[metric]
    except NotFiniteError:
        return float("nan")
    if np.isnan(values).all():
        raise InputError(
            "no validation user has a held-out item: split with more --held-out-users, or keep "
            "users with at least 5 items"
        )
    return float(np.nanmean(values))

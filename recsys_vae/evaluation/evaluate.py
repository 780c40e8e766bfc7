"""Judge a recommender on users whose items are given in part and held out in part."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.evaluation.beyond import Shown
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.intervals import Estimate, estimates
from recsys_vae.evaluation.measures import (
    ACCURACY,
    BEYOND,
    DEFAULT_METRICS,
    OVERALL,
    Metric,
    lengths_by_name,
    parse_metrics,
)
from recsys_vae.evaluation.metrics import PerUser, hits
from recsys_vae.evaluation.segments import ItemSegments
from recsys_vae.ingest.counts import Counts
from recsys_vae.models.base import Recommender, check_items
from recsys_vae.models.choosing import Validation
from recsys_vae.ranking import NotFiniteError, TopN, rank
from recsys_vae.splitting import FoldIn

SHOWN: Final = 20
"""How many places of a list people look at, when it is counted what they see."""
_SCORES_AT_ONCE: Final = 2**26


class UntrustworthyError(InputError):
    """The lists break a rule that makes judging them meaningless."""


@dataclass(frozen=True, slots=True)
class Checks:
    """What was checked of the lists; a violated check would have raised.

    Attributes:
        users: that lists were made for.
        judged: users with held-out items.
        left_out: users without: there is nothing to find.
        short_lists: lists with fewer items than asked for.
        seen_recommended: places that hold an item of the user's given history.
        repeated: places that hold an item a second time.
    """

    users: int
    judged: int
    left_out: int
    short_lists: int
    seen_recommended: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One number per user and metric.

    Attributes:
        per_user: by metric name, such as "ndcg@100"; NaN for users that are not judged.
        user_ids: external ids, in the same order.
        overall: measures of all lists together, by name, such as "coverage@20".
        checks: what was checked.
        by_items: per user and metric, with only some held-out items counted, by (segmentation,
            segment).
        shown_I: how many judged users were shown each item among their first `SHOWN`.
    """

    per_user: dict[str, PerUser]
    user_ids: list[object]
    overall: dict[str, float]
    checks: Checks
    by_items: dict[tuple[str, str], dict[str, PerUser]] = field(default_factory=dict)
    shown_I: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def estimates(self, *, seed: int = 0) -> dict[str, Estimate]:
        """Give means with intervals by metric name; overall measures have no interval."""
        found = estimates(self.per_user, seed=seed)
        checks, nan = self.checks, float("nan")
        for name, value in self.overall.items():
            found[name] = Estimate(value, nan, nan, checks.judged, checks.left_out)
        return found

    def frame(self) -> pd.DataFrame:
        """Give a frame of a row a user: `user` and a column a metric."""
        return pd.DataFrame({"user": self.user_ids, **self.per_user})


def block_size(n_items: int) -> int:
    """Give how many users are scored at once: as many as 256 MiB hold, at most 500."""
    return max(1, min(500, _SCORES_AT_ONCE // max(n_items, 1)))


def ranked(model: Recommender, fold: FoldIn, k: int, *, block: int | None = None) -> Iterator[TopN]:
    """Rank what was not given, for all users of a fold, block by block.

    Args:
        model: fitted.
        fold: whose users.
        k: length of the lists.
        block: users scored at once, by default as `block_size` says; it does not change the lists.

    Yields:
        The lists, in the order of the fold's users.

    Raises:
        InputError: the items are not the model's, or a score is not finite.
    """
    check_items(model, fold.given.items, "the held-out users")
    n_users, n_items = fold.given.matrix.shape
    block = block or block_size(n_items)
    for start in range(0, n_users, block):
        given = fold.given.matrix[start : start + block]
        yield rank(model.score(given), given, k)


def judge(
    blocks: Iterable[TopN],
    fold: FoldIn,
    asked: Sequence[Metric],
    *,
    catalogue: Catalogue | None = None,
    item_segments: Sequence[ItemSegments] = (),
) -> Evaluation:
    """Judge lists, wherever they come from.

    Args:
        blocks: lists of all users of the fold, in their order.
        fold: what is given and what is to be found.
        asked: the metrics; a k beyond the catalogue judges the whole catalogue.
        catalogue: what is known of the items; needed for measures beyond accuracy.
        item_segments: judge again with the held-out items of each segment alone.

    Raises:
        UntrustworthyError: a list repeats an item, or holds one that was given.
        ValueError: the lists are too short or too few, or the catalogue is needed and not given.
    """
    n_items = len(fold.given.items)
    lengths = lengths_by_name(asked)
    if catalogue is None and lengths.keys() - ACCURACY.keys():
        raise ValueError("measures beyond accuracy need the catalogue")
    parts: dict[str, list[PerUser]] = {name: [] for name in lengths if name not in OVERALL}
    by_items: dict[tuple[str, str], dict[str, list[PerUser]]] = {}
    exposure = {
        k: np.zeros(n_items, dtype=np.int64) for name in OVERALL for k in lengths.get(name, ())
    }
    shown_I = np.zeros(n_items, dtype=np.int64)
    start, short, seen, repeated = 0, 0, 0, 0
    for lists in blocks:
        rows = slice(start, start + len(lists.items_BK))
        start = rows.stop
        given, held_out = fold.given.matrix[rows], fold.held_out.matrix[rows]
        short += int(lists.short.sum())
        seen += int(hits(lists, given).sum())
        repeated += _repeated(lists)
        held_B = np.diff(held_out.indptr).astype(np.int64)
        hits_BK = hits(lists, held_out)
        for name, values in _values(lists, hits_BK, held_B, given, catalogue, lengths).items():
            parts[name].append(values)
        judged = held_B > 0
        first = lists.items_BK[judged, :SHOWN]
        shown_I += np.bincount(first[first >= 0], minlength=n_items)
        for k, counts in exposure.items():
            shown = lists.items_BK[judged, : min(k, n_items)]
            counts += np.bincount(shown[shown >= 0], minlength=n_items)
        for one in item_segments:
            for label, chosen_I in one.masks():
                of_segment = _restricted(held_out, chosen_I)
                held = np.diff(of_segment.indptr).astype(np.int64)
                found = _values(
                    lists, hits(lists, of_segment), held, given, None,
                    {name: ks for name, ks in lengths.items() if name in ACCURACY},
                )  # fmt: skip
                kept = by_items.setdefault((one.name, label), {})
                for name, values in found.items():
                    kept.setdefault(name, []).append(values)
    if start != len(fold.given.users):
        raise ValueError(f"{start} lists do not fit {len(fold.given.users)} users")
    _refuse(seen, repeated)
    held = np.diff(fold.held_out.matrix.indptr)
    n_judged = int((held > 0).sum())
    checks = Checks(start, n_judged, start - n_judged, short, seen, repeated)
    overall = {}
    for name in OVERALL:
        for k in lengths.get(name, ()):
            counts = exposure[k]
            share = float((counts > 0).mean()) if len(counts) else 0.0
            overall[f"{name}@{k}"] = share if name == "coverage" else Counts.of(counts).gini
    return Evaluation(
        _in_order(parts, lengths, asked),
        fold.given.users.to_arrow().to_pylist(),
        overall,
        checks,
        {key: _in_order(found, lengths, asked) for key, found in by_items.items()},
        shown_I,
    )


def _values(
    lists: TopN,
    hits_BK: npt.NDArray[np.bool_],
    held_B: npt.NDArray[np.int64],
    given: csr_array,
    catalogue: Catalogue | None,
    lengths: dict[str, list[int]],
) -> dict[str, PerUser]:
    """Judge a block: (B, N) by measure."""
    found: dict[str, PerUser] = {}
    longest = hits_BK.shape[1]
    shown = None if catalogue is None else Shown(lists, hits_BK, held_B, given, catalogue)
    for name, wanted in lengths.items():
        ks = [min(k, int(given.shape[1])) for k in wanted]
        if max(ks) > longest:
            raise ValueError(f"lists of length {longest} are too short for {name}@{max(ks)}")
        if name in ACCURACY:
            found[name] = ACCURACY[name](hits_BK, held_B, ks)
        elif name in BEYOND and shown is not None:
            found[name] = BEYOND[name](shown, ks)
    return found


def _in_order(
    parts: dict[str, list[PerUser]], lengths: dict[str, list[int]], asked: Sequence[Metric]
) -> dict[str, PerUser]:
    joined = {name: np.concatenate(values) for name, values in parts.items() if values}
    return {
        str(metric): np.ascontiguousarray(
            joined[metric.name][:, lengths[metric.name].index(metric.k)]
        )
        for metric in asked
        if metric.name in joined
    }


def _repeated(lists: TopN) -> int:
    ordered = np.sort(lists.items_BK, axis=1)
    return int(((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).sum())


def _restricted(held_out: csr_array, chosen_I: npt.NDArray[np.bool_]) -> csr_array:
    kept = chosen_I[held_out.indices]
    ends = np.concatenate([[0], np.cumsum(kept)])[held_out.indptr]
    return csr_array((held_out.data[kept], held_out.indices[kept], ends), shape=held_out.shape)


def _refuse(seen: int, repeated: int) -> None:
    if seen:
        raise UntrustworthyError(
            f"{seen} recommended items were given to the model: such lists cannot be judged, mask "
            "what the user has taken"
        )
    if repeated:
        raise UntrustworthyError(
            f"{repeated} places of the lists repeat an item: such lists cannot be judged, rank "
            "each item once"
        )


def evaluate(
    model: Recommender,
    fold: FoldIn,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    catalogue: Catalogue | None = None,
    item_segments: Sequence[ItemSegments] = (),
    block: int | None = None,
) -> Evaluation:
    """Rank all items that were not given, and judge the lists.

    Args:
        model: fitted.
        fold: given and held-out items of the same users.
        metrics: such as "recall@20"; a k beyond the catalogue judges the whole catalogue.
        catalogue: needed for measures beyond accuracy.
        item_segments: judge again with the held-out items of each segment alone.
        block: users scored at once, by default as many as 256 MiB of scores hold, at most 500; it
            does not change the result.

    Returns:
        The metrics, user by user.

    Raises:
        InputError: a metric is unknown or the items are not the model's.
    """
    asked = parse_metrics(metrics)
    longest = max(1, min(len(fold.given.items), max(metric.k for metric in asked)))
    blocks = ranked(model, fold, longest, block=block)
    return judge(blocks, fold, asked, catalogue=catalogue, item_segments=item_segments)


def mean_metric(model: Recommender, fold: FoldIn, metric: str) -> Validation:
    """Give the mean of one metric over the judged users, for early stopping and choices."""
    return mean_metrics(model, fold, [metric])[metric]


def mean_metrics(model: Recommender, fold: FoldIn, metrics: Sequence[str]) -> dict[str, Validation]:
    """Give the means of some metrics of single users over the judged users.

    Returns:
        The means by name, all NaN where the model gives scores that are not finite.

    Raises:
        InputError: no user has held-out items.
    """
    try:
        per_user = evaluate(model, fold, metrics).per_user
    except NotFiniteError:
        nobody = np.full(len(fold.given.users), np.nan)
        return {name: Validation(nobody) for name in metrics}
    if any(np.isnan(values).all() for values in per_user.values()):
        raise InputError(
            "no validation user has a held-out item: split with more --held-out-users, or keep "
            "users with at least 5 items"
        )
    return {name: Validation(values) for name, values in per_user.items()}

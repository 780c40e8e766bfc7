"""All measures of one user's list in plain NumPy: what `recsys_vae.evaluation` does in blocks.

Written from the definitions in `docs/metrics.md` without any code of the library, so that it is an
oracle for the tests and a reference for speed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


def judge_user(
    shown: Numbers,
    held_out: Numbers,
    given: Numbers,
    ks: Sequence[int],
    *,
    counts: Numbers,
    n_users: int,
    vectors: Numbers,
) -> dict[str, float]:
    """Judge one list.

    Args:
        shown: item numbers, best first; -1 after the end.
        held_out: item numbers to be found, at least one.
        given: item numbers that the user had taken.
        ks: list lengths.
        counts: training users of each item.
        n_users: training users.
        vectors: a unit vector for each item.
    """
    found: dict[str, float] = {}
    by_popularity = np.argsort(-counts, kind="stable")
    unseen = by_popularity[~np.isin(by_popularity, given)]
    before = np.cumsum(counts[by_popularity]) - counts[by_popularity]
    group = np.empty(len(counts), dtype=int)
    group[by_popularity] = np.digitize(before / counts.sum(), [0.2, 0.8])
    for k in ks:
        items = shown[:k]
        items = items[items >= 0]
        hit = np.isin(items, held_out)
        places = np.arange(1, len(items) + 1)
        best = min(k, len(held_out))
        found[f"recall@{k}"] = hit.sum() / best
        found[f"recall_all@{k}"] = hit.sum() / len(held_out)
        found[f"precision@{k}"] = hit.sum() / k
        found[f"hit_rate@{k}"] = float(hit.any())
        found[f"mrr@{k}"] = 1 / (1 + np.argmax(hit)) if hit.any() else 0.0
        found[f"map@{k}"] = (np.cumsum(hit)[hit] / places[hit]).sum() / best
        ideal = (1 / np.log2(np.arange(1, best + 1) + 1)).sum()
        found[f"ndcg@{k}"] = (1 / np.log2(places[hit] + 1)).sum() / ideal
        found[f"novelty@{k}"] = float(np.mean(-np.log2(np.maximum(counts[items], 1) / n_users)))
        found[f"popularity@{k}"] = float(np.mean(counts[items] / n_users))
        cosines = vectors[items] @ vectors[items].T
        pairs = len(items) * (len(items) - 1)
        found[f"diversity@{k}"] = 1 - (cosines.sum() - np.trace(cosines)) / pairs
        unexpected = hit & ~np.isin(items, unseen[:k])
        found[f"serendipity@{k}"] = unexpected.sum() / best
        taken = np.bincount(group[given], minlength=3) / len(given)
        listed = np.bincount(group[items], minlength=3) / len(items)
        found[f"miscalibration@{k}"] = _divergence(taken, listed)
    return found


def _divergence(one: Numbers, other: Numbers) -> float:
    """Jensen-Shannon divergence in bits."""
    middle = (one + other) / 2
    return float(_entropy(middle) - _entropy(one) / 2 - _entropy(other) / 2)


def _entropy(shares: Numbers) -> Any:
    positive = shares[shares > 0]
    return -(positive * np.log2(positive)).sum()

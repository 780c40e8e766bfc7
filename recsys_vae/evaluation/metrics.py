"""How well lists find what was held out: accuracy per user, at any list lengths in one pass.

Legend: B users, K longest list, N list lengths asked for.

A user without held-out items gets NaN: there is nothing to find, so the user is left out (and
counted) wherever means are taken. Formulas and sources stand in `docs/metrics.md`, too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.ranking.topn import PAD, TopN

PerUser = npt.NDArray[np.float64]
Lengths = Sequence[int]


def hits(lists: TopN, held_out: csr_array) -> npt.NDArray[np.bool_]:
    """Say which places of the lists hold a held-out item: hits_BK.

    Args:
        lists: the lists.
        held_out: (B, I) held-out interactions, rows sorted, row by row those of the lists.

    Returns:
        hits_BK; padded places are no hits.
    """
    n_items = int(held_out.shape[1])
    rows = np.repeat(np.arange(held_out.shape[0], dtype=np.int64), np.diff(held_out.indptr))
    relevant = rows * n_items + held_out.indices
    users = np.arange(lists.items_BK.shape[0], dtype=np.int64)[:, None]
    shown = users * n_items + lists.items_BK
    if not len(relevant):
        return np.zeros(shown.shape, dtype=bool)
    place = np.searchsorted(relevant, shown.ravel()).clip(max=len(relevant) - 1)
    same = (relevant[place] == shown.ravel()).reshape(shown.shape)
    found: npt.NDArray[np.bool_] = same & (lists.items_BK != PAD)
    return found


def within(ks: Lengths, longest: int) -> npt.NDArray[np.float64]:
    """Say which places count for which list length: (K, N) of 0 and 1.

    A product with it adds up the places of every length at once.

    Raises:
        ValueError: a length is below 1 or beyond K.

    >>> within([1, 3], 3).T
    array([[1., 0., 0.],
           [1., 1., 1.]])
    """
    for k in ks:
        if not 1 <= k <= longest:
            raise ValueError(f"k = {k} does not fit lists of length {longest}")
    inside: npt.NDArray[np.float64] = (
        np.arange(longest)[:, None] < np.asarray(ks, dtype=np.int64)
    ).astype(np.float64)
    return inside


def _counts(held_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Give (B, 1) held-out items, NaN where there are none."""
    counts: npt.NDArray[np.float64] = np.where(held_B > 0, held_B, np.nan)[:, None]
    return counts


def _found(hits_BK: npt.NDArray[np.bool_], ks: Lengths) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = hits_BK.astype(np.float64) @ within(ks, hits_BK.shape[1])
    return found


def recall(hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths) -> PerUser:
    r"""Recall@k = hits among the first k / min(k, held-out items).

    Source: D. Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018,
    section 4.2; the denominator makes 1 reachable when more than k items are held out.

    Args:
        hits_BK: from `hits`.
        held_B: how many items are held out of each user.
        ks: list lengths to judge, each at most K.

    Returns:
        (B, N) within 0..1, NaN for users without held-out items; so for every metric here.
    """
    result: PerUser = _found(hits_BK, ks) / np.minimum(_counts(held_B), np.asarray(ks))
    return result


def recall_all(
    hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths
) -> PerUser:
    """Recall_all@k = hits among the first k / held-out items.

    The textbook's recall, and that of the papers on graph recommendation (LightGCN and its
    followers); where more than k items are held out it cannot reach 1.
    """
    result: PerUser = _found(hits_BK, ks) / _counts(held_B)
    return result


def precision(
    hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths
) -> PerUser:
    """Precision@k = hits among the first k / k, also where the list is shorter."""
    result: PerUser = _found(hits_BK, ks) / np.asarray(ks)
    return np.where(held_B[:, None] > 0, result, np.nan)


def hit_rate(hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths) -> PerUser:
    """HitRate@k = 1 if any of the first k is a hit, otherwise 0."""
    hit = (_found(hits_BK, ks) > 0).astype(np.float64)
    return np.where(held_B[:, None] > 0, hit, np.nan)


def mrr(hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths) -> PerUser:
    """MRR@k = 1 / place of the first hit, 0 if it lies beyond k.

    Source: E. Voorhees, The TREC-8 Question Answering Track Report, 1999.
    """
    within(ks, hits_BK.shape[1])  # refuses lengths that do not fit
    judged = np.where(held_B > 0, 1.0, np.nan)
    first = np.where(hits_BK.any(axis=1), hits_BK.argmax(axis=1), hits_BK.shape[1])
    reciprocal = judged / (first + 1)
    result: PerUser = reciprocal[:, None] * (first[:, None] < np.asarray(ks))
    return result


def average_precision(
    hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths
) -> PerUser:
    """MAP@k: the mean over users of AP@k = sum over hits at r <= k of Precision@r / min(k, held).

    Source: C. Manning et al., Introduction to Information Retrieval, 2008, section 8.4, cut at k;
    the denominator as in `recall`.
    """
    places = np.arange(1, hits_BK.shape[1] + 1)
    gains_BK = hits_BK * (np.cumsum(hits_BK, axis=1) / places)
    sums = gains_BK @ within(ks, hits_BK.shape[1])
    result: PerUser = sums / np.minimum(_counts(held_B), np.asarray(ks))
    return result


def ndcg(hits_BK: npt.NDArray[np.bool_], held_B: npt.NDArray[np.int64], ks: Lengths) -> PerUser:
    r"""NDCG@k = DCG@k / ideal DCG@k, DCG@k = sum over places r of hit_r / log2(r + 1).

    Source: K. Järvelin, J. Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, ACM TOIS
    20(4), 2002, with gains of 0 and 1; the ideal list has min(k, held-out items) hits at its head,
    as in Liang et al. 2018.
    """
    discount = 1.0 / np.log2(np.arange(2, hits_BK.shape[1] + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])
    best_BN = ideal[np.minimum(held_B[:, None], np.asarray(ks))]
    gains: npt.NDArray[Any] = discount[:, None] * within(ks, hits_BK.shape[1])
    result: PerUser = (hits_BK.astype(np.float64) @ gains) / best_BN
    return result

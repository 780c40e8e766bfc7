"""Ranking metrics, one number per user: pure functions of lists and held-out items.

Legend: B users, K list length. A user without held-out items gets NaN: there is nothing to find,
so the user is left out (and counted) wherever means are taken.
"""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.ranking.topn import PAD, TopN

PerUser = npt.NDArray[np.float64]


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


def _held_out_counts(held_out: csr_array) -> npt.NDArray[np.float64]:
    counts = np.diff(held_out.indptr).astype(np.float64)
    judged: npt.NDArray[np.float64] = np.where(counts > 0, counts, np.nan)
    return judged


def _check(hits_BK: npt.NDArray[np.bool_], k: int) -> None:
    if not 1 <= k <= hits_BK.shape[1]:
        raise ValueError(f"k = {k} does not fit lists of length {hits_BK.shape[1]}")


def recall(hits_BK: npt.NDArray[np.bool_], held_out: csr_array, k: int) -> PerUser:
    r"""Recall@k = hits among the first k / min(k, held-out items).

    Source: D. Liang et al., Variational Autoencoders for Collaborative Filtering, WWW 2018,
    section 4.2; the denominator makes 1 reachable when more than k items are held out.

    Args:
        hits_BK: from `hits`.
        held_out: the held-out interactions.
        k: list length to judge, at most K.

    Returns:
        (B,) within 0..1, NaN for users without held-out items.
    """
    _check(hits_BK, k)
    result: PerUser = hits_BK[:, :k].sum(axis=1) / np.minimum(_held_out_counts(held_out), k)
    return result


def ndcg(hits_BK: npt.NDArray[np.bool_], held_out: csr_array, k: int) -> PerUser:
    r"""NDCG@k = DCG@k / ideal DCG@k, DCG@k = sum over places r of hit_r / log2(r + 1).

    Source: as `recall`; the ideal list has min(k, held-out items) hits at its head.

    Args:
        hits_BK: from `hits`.
        held_out: the held-out interactions.
        k: list length to judge, at most K.

    Returns:
        (B,) within 0..1, NaN for users without held-out items.
    """
    _check(hits_BK, k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discount)])
    counts = np.minimum(np.diff(held_out.indptr), k)
    result: PerUser = (hits_BK[:, :k] @ discount) / ideal[counts]
    return result

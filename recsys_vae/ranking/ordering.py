"""Candidates in order: best first, equal ones by item number.

Legend: B users in the block, I items, H hidden width, K list length, C candidates of a user, N
entries, that is pairs of a user and an item.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys_vae.models.sparse_product import csr_tensor
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.rough import Contenders
from recsys_vae.ranking.topn import PAD, NotFiniteError, TopN

_LAST: Final = 2**31 - 1
_NOTHING: Final = np.int64(-(2**63))
"""Lower than the key of any candidate."""
_PLACES_AT_ONCE: Final = 1 << 22
"""Candidates that are ordered together, in a table as wide as the longest row."""


def ordered(scores_N: Tensor, found: Contenders, n_users: int, k: int) -> TopN:
    """Give the best k candidates of each user.

    Args:
        scores_N: float32, of the candidates.
        found: candidates, none twice for a user.
        n_users: B.
        k: list length, 1..I.

    Returns:
        The lists; a user with fewer than k candidates gets a short one, padded.

    Raises:
        NotFiniteError: a score is NaN.

    >>> found = Contenders(torch.tensor([0, 0]), torch.tensor([2, 1]))
    >>> ordered(torch.tensor([3.0, 3.0]), found, n_users=1, k=2).items_BK
    array([[1, 2]], dtype=int32)
    """
    lists = empty_lists(n_users, k)
    users_N, scores = found.users_N.numpy(force=True), scores_N.numpy(force=True)
    if not len(users_N):
        return lists
    nothing_N = np.isnan(scores)
    if nothing_N.any():
        row = int(users_N[nothing_N.argmax()])
        raise NotFiniteError(row, row)
    keys_N = _keys(scores, found.items_N.numpy(force=True))
    counts_B = np.bincount(users_N, minlength=n_users)
    starts_B = np.cumsum(counts_B) - counts_B
    for rows in _alike(counts_B):
        width = int(counts_B[rows].max())
        keys_BC = np.full((len(rows), width), _NOTHING)
        held_BC = np.arange(width) < counts_B[rows, None]
        if len(rows) == n_users:
            keys_BC[held_BC] = keys_N
        else:
            keys_BC[held_BC] = keys_N[(starts_B[rows, None] + np.arange(width))[held_BC]]
        keys_BC.sort(axis=1)
        best_BK = keys_BC[:, -k:][:, ::-1]
        wanted = best_BK.shape[1]
        full_BK = best_BK != _NOTHING
        lists.items_BK[rows, :wanted] = np.where(full_BK, _LAST - (best_BK & _LAST), PAD)
        bits_BK = (best_BK >> 32).astype(np.int32)
        values_BK = _turned(bits_BK).view(np.float32)
        lists.scores_BK[rows, :wanted] = np.where(full_BK, values_BK, -np.inf)
    return lists


def _keys(
    scores_N: npt.NDArray[np.float32], items_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Give whole numbers of which the larger is the one that stands first in a list.

    A score's bits in the upper half, in the lower one how far the item's number is from the last.
    """
    # The sum makes -0 a 0, which is as large.
    bits_N = _turned((scores_N + np.float32(0.0)).view(np.int32))
    keys_N: npt.NDArray[np.int64] = (bits_N.astype(np.int64) << 32) | (_LAST - items_N)
    return keys_N


def _turned(bits: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Turn a float's bits into a number of the same order, and back."""
    turned: npt.NDArray[np.int32] = bits ^ ((bits >> 31) & np.int32(_LAST))
    return turned


def products(users: LinearScores, found: Contenders) -> Tensor:
    """Score candidates in float32, each by the same loop over H, whatever the block: (N,)."""
    if not len(found.users_N):
        return users.bias_I.new_zeros(0)
    counts_B = torch.bincount(found.users_N, minlength=len(users.hidden_BH))
    offsets = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
    scores_N = _products(users.hidden_BH, users.weight_IH, found.items_N, offsets)
    return scores_N + users.bias_I[found.items_N]


def empty_lists(n_users: int, k: int) -> TopN:
    """Give lists of which no place is filled."""
    return TopN(np.full((n_users, k), PAD, np.int32), np.full((n_users, k), -np.inf, np.float32))


def _alike(counts_B: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.intp]]:
    """Cut users into groups whose tables of candidates stay small: most in one, the long apart."""
    limit = max(1, _PLACES_AT_ONCE // len(counts_B))
    usual = np.flatnonzero(counts_B <= limit)
    if len(usual):
        yield usual
    for row in np.flatnonzero(counts_B > limit):
        yield np.array([row])


def _products(hidden_BH: Tensor, weight_IH: Tensor, items_N: Tensor, offsets: Tensor) -> Tensor:
    """Give h_u . w_i for the named pairs, each by the same loop over H, whatever the block."""
    size = (len(hidden_BH), len(weight_IH))
    pattern = csr_tensor(offsets, items_N, hidden_BH.new_zeros(len(items_N)), size)
    found: Tensor = torch.sparse.sampled_addmm(pattern, hidden_BH, weight_IH.T, beta=0.0)
    values: Tensor = found.values()
    return values

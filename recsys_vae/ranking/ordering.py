"""Candidates in order: best first, equal ones by item number.

Legend: B users in the block, I items, H hidden width, K list length, C candidates of a user, N
entries, that is pairs of a user and an item.
"""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys_vae.models.sparse_product import csr_tensor
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking.rough import Contenders
from recsys_vae.ranking.topn import PAD, TopN

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

    >>> found = Contenders(torch.tensor([0, 0]), torch.tensor([2, 1]))
    >>> ordered(torch.tensor([3.0, 3.0]), found, n_users=1, k=2).items_BK
    array([[1, 2]], dtype=int32)
    """
    lists = empty_lists(n_users, k)
    if n_users:
        counts_B = torch.bincount(found.users_N, minlength=n_users)
        for rows in _alike(counts_B.cpu().numpy()):
            _order(scores_N, found, rows, lists)
    return lists


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


def _order(scores_N: Tensor, found: Contenders, rows: npt.NDArray[np.intp], lists: TopN) -> None:
    """Fill the lists of some users."""
    n_users = len(lists.items_BK)
    own = found
    if len(rows) < n_users:
        own, scores_N = found.of_users(rows, n_users, scores_N)
    counts_B = torch.bincount(own.users_N, minlength=len(rows))
    if not len(own.users_N):
        return
    offsets = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
    places_N = torch.arange(len(scores_N), device=scores_N.device) - offsets[own.users_N]
    width = int(counts_B.max())
    scores_BC = scores_N.new_full((len(rows), width), -math.inf)
    scores_BC[own.users_N, places_N] = scores_N
    items_BC = own.items_N.new_full((len(rows), width), PAD)
    items_BC[own.users_N, places_N] = own.items_N
    wanted = min(lists.items_BK.shape[1], width)
    values_BK, best_BK = torch.topk(scores_BC, min(wanted + 1, width), dim=1)
    items_BK = items_BC.gather(1, best_BK[:, :wanted])
    tied_B = ((values_BK[:, 1:] == values_BK[:, :-1]) & (values_BK[:, 1:] > -math.inf)).any(dim=1)
    if tied_B.any():
        by_number_BC, order_BC = items_BC[tied_B].sort(dim=1)
        again_BC = scores_BC[tied_B].gather(1, order_BC)
        best_BC = again_BC.sort(dim=1, descending=True, stable=True).indices
        items_BK[tied_B] = by_number_BC.gather(1, best_BC[:, :wanted])
    lists.items_BK[rows, :wanted] = items_BK.int().cpu().numpy()
    lists.scores_BK[rows, :wanted] = values_BK[:, :wanted].cpu().numpy()


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

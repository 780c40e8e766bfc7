"""Exact top-N lists from blocks of scores.

Legend: B users in the block, I items, K list length.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking.largest import largest

PAD = -1
"""Item number at the places that a short list leaves empty."""


class NotFiniteError(InputError):
    """A model gave a score that is NaN or infinite.

    Args:
        user: the user, or the row in the block where it is not known who that is.
        row: in the block.
    """

    def __init__(self, user: object, row: int) -> None:
        """Write the sentence."""
        self.row = row
        super().__init__(
            f"the scores of user {user} are not finite: train the model again with a lower "
            "learning rate"
        )


@dataclass(frozen=True, slots=True)
class TopN:
    """Lists of item numbers, best first.

    Args:
        items_BK: int32, `PAD` (-1) after the end of a short list.
        scores_BK: float32, -inf after the end of a short list.
    """

    items_BK: npt.NDArray[np.int32]
    scores_BK: npt.NDArray[np.float32]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Items in each list, (B,)."""
        lengths: npt.NDArray[np.int64] = (self.items_BK != PAD).sum(axis=1)
        return lengths

    @property
    def short(self) -> npt.NDArray[np.bool_]:
        """Which lists are shorter than K, (B,)."""
        short: npt.NDArray[np.bool_] = self.lengths < self.items_BK.shape[1]
        return short


def joined(lists: Sequence[TopN], k: int) -> TopN:
    """Put the lists of several blocks of users one after the other."""
    if not lists:
        return TopN(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
    return TopN(
        np.concatenate([one.items_BK for one in lists]),
        np.concatenate([one.scores_BK for one in lists]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ItemRules:
    """What may stand in a list.

    Args:
        permitted_I: bool, which items may be recommended; None: all.
        mask_seen: whether a user's given items are left out.
    """

    permitted_I: npt.NDArray[np.bool_] | None = None
    mask_seen: bool = True

    @classmethod
    def of(
        cls,
        items: IdMap,
        *,
        allowed: list[Any] | None = None,
        blocked: list[Any] | None = None,
        mask_seen: bool = True,
    ) -> Self:
        """Make rules from external ids.

        Args:
            items: of the model.
            allowed: only these may be recommended; None: all.
            blocked: these may not, even if allowed.
            mask_seen: whether a user's given items are left out.

        Raises:
            InputError: an id is unknown, or nothing is left to recommend.
        """
        if not allowed and not blocked:
            return cls(mask_seen=mask_seen)
        permitted = np.ones(len(items), dtype=bool)
        if allowed:
            permitted[:] = False
            permitted[_lookup(items, allowed, "--allow")] = True
        if blocked:
            permitted[_lookup(items, blocked, "--block")] = False
        if not permitted.any():
            raise InputError("--allow and --block leave no item to recommend: relax one of them")
        return cls(permitted, mask_seen)


def _lookup(items: IdMap, ids: list[Any], option: str) -> npt.NDArray[np.int64]:
    try:
        return items.numbers(ids)
    except InputError as error:
        raise InputError(
            f"{option}: {error}: give ids of items that the model knows, separated by commas"
        ) from error


def rank(
    scores_BI: npt.NDArray[np.float32],
    given: csr_array,
    k: int,
    rules: ItemRules | None = None,
) -> TopN:
    """Rank items for a block of users.

    The order is by score, highest first, and equal scores by item number, so a list does not
    depend on the block that the user is in.

    Args:
        scores_BI: finite scores; overwritten where items are masked.
        given: (B, I) histories, row by row those of `scores_BI`.
        k: list length, 1..I.
        rules: what may stand in a list; by default everything that is not in the history.

    Returns:
        The lists; a user with fewer than k permitted items gets a short one, padded.

    Raises:
        InputError: k is out of range.
        NotFiniteError: a score is NaN or infinite.

    >>> rank(np.float32([[3, 1, 3]]), csr_array((1, 3), dtype=np.float32), 2).items_BK
    array([[0, 2]], dtype=int32)
    """
    rules = rules or ItemRules()
    n_users, n_items = scores_BI.shape
    check_length(k, n_items)
    check_finite(scores_BI)
    if rules.mask_seen:
        rows = np.repeat(np.arange(n_users), np.diff(given.indptr))
        scores_BI[rows, given.indices] = -np.inf
    if rules.permitted_I is not None:
        scores_BI[:, ~rules.permitted_I] = -np.inf
    return best(scores_BI, k)


def check_length(k: int, n_items: int) -> None:
    """Refuse a list length that no list can have.

    Raises:
        InputError: k is not 1..I.
    """
    if not 1 <= k <= n_items:
        raise InputError(f"k = {k} is out of range: choose 1 to {n_items}, the number of items")


def check_finite(scores_BI: npt.NDArray[np.float32] | torch.Tensor) -> None:
    """Refuse scores, or what they are made of, as a model gave them, that have no order.

    Raises:
        NotFiniteError: a number is NaN or infinite.
    """
    numbers_BI = torch.as_tensor(scores_BI)
    # A sum is finite only where all are; where it is not, it may have overflowed.
    doubtful = torch.nonzero(~torch.isfinite(numbers_BI.sum(dim=1))).flatten()
    for row in doubtful.tolist():
        if not torch.isfinite(numbers_BI[row]).all():
            raise NotFiniteError(f"{row} of the block", row)


@contextmanager
def rows_from(first: int) -> Iterator[None]:
    """Count the row that an error names from the start of the block whose part it was found in.

    Args:
        first: row of the block that the part begins with.

    Raises:
        NotFiniteError: as within, with the row of the block.
    """
    try:
        yield
    except NotFiniteError as error:
        row = first + error.row
        raise NotFiniteError(f"{row} of the block", row) from error


def best(scores_BI: npt.NDArray[np.float32], k: int) -> TopN:
    """Give the best items of a block of users, in the order of `rank`.

    Args:
        scores_BI: finite, or -inf where an item must not stand in the list.
        k: list length, 1..I.

    >>> best(np.float32([[1, -np.inf, 1]]), 3).items_BK
    array([[ 0,  2, -1]], dtype=int32)
    """
    values, items, left_out = largest(torch.from_numpy(scores_BI), k)
    values_BK, items_BK = values.numpy().copy(), items.numpy()
    equal = (values_BK[:, 1:] == values_BK[:, :-1]) & (values_BK[:, 1:] > -np.inf)
    # Equal scores at the end of a list may go on behind it.
    straddling = (values_BK[:, -1] == left_out.numpy()) & (values_BK[:, -1] > -np.inf)
    # All of these items belong to the list: only their order is open.
    tied = np.flatnonzero(equal.any(axis=1) & ~straddling)
    # Sorted by the run of equal scores that an item is in, then by its number.
    keys = items_BK[tied]
    keys[:, 1:] |= np.cumsum(~equal[tied], axis=1) << 32
    keys.sort(axis=1)
    items_BK[tied] = keys & 0xFFFF_FFFF
    values_BK[tied] = scores_BI[tied[:, None], items_BK[tied]]
    items_BK = items_BK.astype(np.int32)
    unclear = np.flatnonzero(straddling)
    for start in range(0, len(unclear), 64):
        rows = unclear[start : start + 64]
        order = np.argsort(-scores_BI[rows], axis=1, kind="stable")[:, :k]
        items_BK[rows] = order
        values_BK[rows] = np.take_along_axis(scores_BI[rows], order, axis=1)
    items_BK[np.isneginf(values_BK)] = PAD
    return TopN(items_BK, values_BK)

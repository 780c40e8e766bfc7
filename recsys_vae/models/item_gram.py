"""How much items share their users: X'X, some rows at a time, or among chosen items.

Legend: U users, I items, J items of a run, C items of one batch, K neighbours of each, M pairs of
an item of the batch and a neighbour, N entries.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.models.item_blocks import item_blocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

_DENSE_SHARE: Final = 0.05
"""From this density on X'X is held, dense, where it fits `_DENSE_BYTES`."""
_DENSE_BYTES: Final = 4 * 2**30
_SAMPLE: Final = 256
"""Rows of X'X by which its density is guessed."""
_ENTRIES: Final = 2**20
"""Users of neighbours that are looked at together, some 50 MB with what is made of them."""


class ItemGram(Protocol):
    """X'X, sums in float64, given as float32.

    Attributes:
        diagonal: of it, (I,).
    """

    diagonal: FloatArray

    def runs(self) -> Iterator[tuple[int, csr_array]]:
        """Give runs of its rows, one after the other: the first item of a run, and (J, I)."""
        ...

    def work(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Say how many entries of X `among` has to look at for each item, (C,)."""
        ...

    def among(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> FloatArray:
        """Give its entries among the neighbours of each item, (C, K, K).

        Args:
            near_CK: neighbours.
            inside_CK: which of them there are; rows and columns of others are zeros.
        """
        ...


def item_gram(matrix_UI: csr_array) -> ItemGram:
    """Prepare X'X of some users' interactions.

    Of few items, or where most pairs of items share users, it is held. Otherwise what is asked for
    is made from the users of the items each time: memory for as many numbers as X has.

    Args:
        matrix_UI: float64.
    """
    n_items = int(matrix_UI.shape[1])
    matrix_IU = csr_array(matrix_UI.T)
    if 4 * n_items**2 <= _DENSE_BYTES and _density(matrix_IU, matrix_UI) > _DENSE_SHARE:
        return _Held(matrix_IU, matrix_UI)
    return _Made(matrix_IU, matrix_UI)


def _density(matrix_IU: csr_array, matrix_UI: csr_array) -> float:
    n_items = matrix_IU.shape[0]
    some_JI = matrix_IU[:: max(1, n_items // _SAMPLE)] @ matrix_UI
    return float(some_JI.nnz / max(1, some_JI.shape[0] * n_items))


def _runs(matrix_IU: csr_array, matrix_UI: csr_array) -> Iterator[tuple[int, csr_array]]:
    for start, stop in item_blocks(matrix_IU, np.diff(matrix_UI.indptr)):
        yield start, csr_array(matrix_IU[start:stop] @ matrix_UI).astype(np.float32)


class _Held:
    """All of it, dense."""

    def __init__(self, matrix_IU: csr_array, matrix_UI: csr_array) -> None:
        n_items = matrix_IU.shape[0]
        self._gram_II = np.empty((n_items, n_items), dtype=np.float32)
        for start, run_JI in _runs(matrix_IU, matrix_UI):
            run_JI.toarray(out=self._gram_II[start : start + run_JI.shape[0]])
        self.diagonal = np.diagonal(self._gram_II).copy()

    def runs(self) -> Iterator[tuple[int, csr_array]]:
        n_items = len(self._gram_II)
        at_once = max(1, _ENTRIES // n_items)
        for start in range(0, n_items, at_once):
            yield start, csr_array(self._gram_II[start : start + at_once])

    def work(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.zeros(len(near_CK), dtype=np.int64)

    def among(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> FloatArray:
        among_CKK = self._gram_II[near_CK[:, :, None], near_CK[:, None, :]]
        among_CKK *= inside_CK[:, :, None] & inside_CK[:, None, :]
        return among_CKK


class _Made:
    """Made of the users of the items that are asked for."""

    def __init__(self, matrix_IU: csr_array, matrix_UI: csr_array) -> None:
        self._matrix_IU, self._matrix_UI = matrix_IU, matrix_UI
        squares_I = np.bincount(
            matrix_UI.indices, weights=matrix_UI.data**2, minlength=matrix_UI.shape[1]
        )
        self.diagonal = squares_I.astype(np.float32)
        self._users_I = np.diff(matrix_IU.indptr).astype(np.int64)
        self._place_U = np.empty(matrix_IU.shape[1], dtype=np.int32)

    def runs(self) -> Iterator[tuple[int, csr_array]]:
        for start, run_JI in _runs(self._matrix_IU, self._matrix_UI):
            run_JI.sort_indices()
            yield start, run_JI

    def work(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        users_C: npt.NDArray[np.int64] = (self._users_I[near_CK] * inside_CK).sum(axis=1)
        return users_C

    def among(self, near_CK: IntArray, inside_CK: npt.NDArray[np.bool_]) -> FloatArray:
        width = near_CK.shape[1]
        items_M, places_M = np.nonzero(inside_CK)
        numbers_M = near_CK[inside_CK]
        rows_MU = self._matrix_IU[numbers_M]
        rows = np.concatenate([[0], inside_CK.sum(axis=1).cumsum()])
        users_N = self._apart(rows_MU.indices, rows_MU.indptr[rows])
        # Most users took only one of an item's neighbours, and are part of nothing but a square.
        again_N = users_N != np.arange(len(users_N), dtype=np.int32)
        several = np.zeros(len(users_N), dtype=np.bool_)
        several[users_N[again_N]] = True
        kept = np.flatnonzero(several[users_N])
        apart = csr_array(
            (rows_MU.data[kept], users_N[kept], np.searchsorted(kept, rows_MU.indptr)),
            shape=(len(items_M), len(users_N)),
        )
        shared_MM = csr_array(apart @ apart.T)
        pairs_N = np.repeat(np.arange(len(items_M)), np.diff(shared_MM.indptr))
        among_CKK = np.zeros((len(near_CK), width, width), dtype=np.float32)
        among_CKK[items_M[pairs_N], places_M[pairs_N], places_M[shared_MM.indices]] = shared_MM.data
        among_CKK[items_M, places_M, places_M] = self.diagonal[numbers_M]
        return among_CKK

    def _apart(self, users_N: IntArray, bounds: npt.NDArray[np.integer[Any]]) -> IntArray:
        """Number users anew, each item's from where its entries begin.

        So that no product crosses from one item's neighbours to another's.
        """
        numbers_N = np.empty(len(users_N), dtype=np.int32)
        for start, stop in pairwise(bounds.tolist()):
            own = users_N[start:stop]
            self._place_U[own] = np.arange(start, stop, dtype=np.int32)
            numbers_N[start:stop] = self._place_U[own]
        return numbers_N


def batches(work_C: npt.NDArray[np.int64], most: int) -> Iterator[slice]:
    """Cut items into runs of at most `most`, and of no more work than can be looked at together."""
    done_C = np.concatenate([[0], np.cumsum(work_C)])
    start = 0
    while start < len(work_C):
        within = int(np.searchsorted(done_C, done_C[start] + _ENTRIES, "right")) - 1
        stop = max(start + 1, min(within, start + most))
        yield slice(start, stop)
        start = stop

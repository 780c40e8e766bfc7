"""Ridge regressions of each item on its nearest items: a sparse item-to-item matrix.

Legend: U users, I items, C items of one batch of regressions, K neighbours of each.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, diags_array, vstack

from recsys_vae.errors import UnusableSettingsError
from recsys_vae.models.item_blocks import item_blocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_DENSE_SHARE: Final = 0.05
"""From this density on the Gram matrix is held dense, where it fits `_DENSE_BYTES`."""
_DENSE_BYTES: Final = 4 * 2**30
_NOBODY: Final = 1e-12
"""Activity of a user without items."""
_BATCH_BYTES: Final = 64 * 2**20


def item_ridge(
    matrix_UI: csr_array,
    *,
    ridge: float,
    neighbours: int,
    damping: float,
    source_damping: float = 0.0,
) -> csr_array:
    r"""Regress every item on the items that are most like it.

    With X~ = E^(-damping/2) X, E the users' numbers of items, w the median of E^-damping
    over users with items, and N_j
    the K items with the largest cosine to item j among the columns of X~ (j itself is not among
    them), column j of the regressions is

        b_j = argmin |x~_j - X~_N b|^2 + ridge w |b|^2 = (X~_N' X~_N + ridge w 1)^-1 X~_N' x~_j

    on N_j, and 0 elsewhere. So the ridge counts users as EASE's does, whatever the damping: with
    K = I - 1 and without damping this is EASE, whose closed form gives, column by column, the
    ridge regression of an item on all others. Row i of the result, what taking item i says, is that
    of the regressions times c n_i^-source_damping, n_i the item's users; c leaves the sum of all
    sizes as it was.

    Sources: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019; X. Ning,
    G. Karypis, SLIM: Sparse Linear Methods for Top-N Recommender Systems, ICDM 2011, section
    IV.C (neighbours as the only features of a regression).

    Args:
        matrix_UI: interactions.
        ridge: lambda, above 0.
        neighbours: K; fewer where fewer items share a user with j.
        damping: a user of n items counts n^-damping.
        source_damping: what an item of n users says counts n^-source_damping.

    Returns:
        weights_II, float32: row i holds what taking item i adds to the score of every item.

    Raises:
        UnusableSettingsError: the ridge is too small for float32.
    """
    degree_U = np.maximum(np.asarray(matrix_UI.sum(axis=1), dtype=np.float64), _NOBODY)
    active_U = degree_U[degree_U > _NOBODY]
    ridge *= float(np.median(active_U**-damping)) if len(active_U) else 1.0
    scaled_UI = diags_array(degree_U ** (-damping / 2)) @ matrix_UI.astype(np.float64)
    gram = _gram(csr_array(scaled_UI))
    n_items = int(matrix_UI.shape[1])
    size_I = np.maximum(gram.diagonal, np.float32(1e-30))
    width = max(1, min(neighbours, n_items - 1))
    rows, columns, values = [], [], []
    batch = max(1, _BATCH_BYTES // (4 * width * width))
    for start in range(0, n_items, batch):
        items_C = np.arange(start, min(start + batch, n_items))
        near_CK, count_C = _nearest(gram, items_C, size_I, width)
        among_CKK, with_CK = gram.among(near_CK, count_C, items_C)
        weight_CK = _solve(among_CKK, with_CK, ridge)
        kept_CK = np.arange(width) < count_C[:, None]
        rows.append(near_CK[kept_CK])
        columns.append(np.repeat(items_C, count_C))
        values.append(weight_CK[kept_CK])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    weights_II = csr_array(entries, shape=(n_items, n_items))
    weights_II.sort_indices()
    _quieten(weights_II, np.bincount(matrix_UI.indices, minlength=n_items), source_damping)
    return weights_II


def _quieten(weights_II: csr_array, users_I: npt.NDArray[np.intp], source_damping: float) -> None:
    """Let what many have taken say less, and all together as much as before."""
    before = np.abs(weights_II.data).sum(dtype=np.float64)
    scale_I = np.maximum(users_I, 1) ** -source_damping
    scaled = weights_II.data * np.repeat(scale_I, np.diff(weights_II.indptr))
    after = np.abs(scaled).sum()
    weights_II.data = np.float32(scaled * (before / after if after else 1.0))


def _solve(among_CKK: FloatArray, with_CK: FloatArray, ridge: float) -> FloatArray:
    """Solve the normal equations of a batch; what is no neighbour has a row of zeros there."""
    left_CKK = torch.from_numpy(among_CKK)
    left_CKK.diagonal(dim1=1, dim2=2).add_(ridge)
    lower_CKK, failed_C = torch.linalg.cholesky_ex(left_CKK)
    if failed_C.any():
        raise UnusableSettingsError(
            "setting 'ridge' is too small for these data (items are too much alike to be told "
            "apart in float32): give a larger one"
        )
    right_CK1 = torch.from_numpy(with_CK)[:, :, None]
    weight: FloatArray = torch.cholesky_solve(right_CK1, lower_CKK)[:, :, 0].numpy()
    return weight


class _Gram(Protocol):
    """X~'X~."""

    diagonal: FloatArray

    def row(self, item: int) -> tuple[IntArray, FloatArray]:
        """Give the items that share a user with one, and their entries."""
        ...

    def among(
        self, near_CK: IntArray, count_C: IntArray, items_C: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Give the entries among neighbours, and of them with the item; zeros after `count_C`."""
        ...


def _gram(scaled_UI: csr_array) -> _Gram:
    """Multiply, some items at a time: sums in float64, held as float32."""
    n_items = int(scaled_UI.shape[1])
    scaled_IU = csr_array(scaled_UI.T)
    fits = 4 * n_items**2 <= _DENSE_BYTES
    rows: list[csr_array] = []
    gram_II: FloatArray | None = None
    for start, stop in item_blocks(scaled_IU, np.diff(scaled_UI.indptr)):
        rows.append(csr_array(scaled_IU[start:stop] @ scaled_UI).astype(np.float32))
        entries = sum(block_JI.nnz for block_JI in rows)
        if gram_II is None and fits and entries > _DENSE_SHARE * n_items**2:
            gram_II = np.zeros((n_items, n_items), dtype=np.float32)
        if gram_II is not None:
            begin = stop - sum(block_JI.shape[0] for block_JI in rows)
            for block_JI in rows:
                block_JI.toarray(out=gram_II[begin : begin + block_JI.shape[0]])
                begin += block_JI.shape[0]
            rows = []
    if gram_II is not None:
        return _DenseGram(gram_II)
    sparse_II = csr_array(vstack(rows, format="csr"))
    sparse_II.sort_indices()
    return _SparseGram(sparse_II)


class _DenseGram:
    def __init__(self, gram_II: FloatArray) -> None:
        self._gram_II = gram_II
        self.diagonal = np.diagonal(gram_II).copy()

    def row(self, item: int) -> tuple[IntArray, FloatArray]:
        found = np.flatnonzero(self._gram_II[item])
        return found, self._gram_II[item, found]

    def among(
        self, near_CK: IntArray, count_C: IntArray, items_C: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        inside_CK = np.arange(near_CK.shape[1]) < count_C[:, None]
        among_CKK = self._gram_II[near_CK[:, :, None], near_CK[:, None, :]]
        among_CKK *= inside_CK[:, :, None] & inside_CK[:, None, :]
        return among_CKK, self._gram_II[near_CK, items_C[:, None]] * inside_CK


class _SparseGram:
    def __init__(self, gram_II: csr_array) -> None:
        self._gram_II = gram_II
        self.diagonal = gram_II.diagonal().astype(np.float32)
        self._place_I = np.full(gram_II.shape[0], -1, dtype=np.int64)

    def row(self, item: int) -> tuple[IntArray, FloatArray]:
        own = slice(*self._gram_II.indptr[item : item + 2])
        return self._gram_II.indices[own].astype(np.int64), self._gram_II.data[own]

    def among(
        self, near_CK: IntArray, count_C: IntArray, items_C: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        width = near_CK.shape[1]
        among_CKK = np.zeros((len(items_C), width, width), dtype=np.float32)
        with_CK = np.zeros((len(items_C), width), dtype=np.float32)
        for c, (near_K, item) in enumerate(zip(_filled(near_CK, count_C), items_C, strict=True)):
            self._place_I[near_K] = np.arange(len(near_K))
            entries_N, row_N = self._entries(near_K)
            place_N = self._place_I[self._gram_II.indices[entries_N]]
            here_N = place_N >= 0
            among_CKK[c, row_N[here_N], place_N[here_N]] = self._gram_II.data[entries_N[here_N]]
            found, values = self.row(int(item))
            place = self._place_I[found]
            with_CK[c, place[place >= 0]] = values[place >= 0]
            self._place_I[near_K] = -1
        return among_CKK, with_CK

    def _entries(self, rows_K: IntArray) -> tuple[IntArray, IntArray]:
        """Give the places of all entries of some rows, and the number of the row within them."""
        start_K = self._gram_II.indptr[rows_K].astype(np.int64)
        length_K = self._gram_II.indptr[rows_K + 1] - start_K
        row_N = np.repeat(np.arange(len(rows_K)), length_K)
        before_K = np.cumsum(length_K) - length_K
        return np.arange(len(row_N)) + (start_K - before_K)[row_N], row_N


def _filled(near_CK: IntArray, count_C: IntArray) -> Iterator[IntArray]:
    for near_K, count in zip(near_CK, count_C, strict=True):
        yield near_K[:count]


def _nearest(
    gram: _Gram, items_C: IntArray, size_I: FloatArray, width: int
) -> tuple[IntArray, IntArray]:
    """Give the items of largest cosine to each item, ascending, and how many there are.

    Of equally similar items those with the lowest numbers are taken.
    """
    near_CK = np.zeros((len(items_C), width), dtype=np.int64)
    count_C = np.zeros(len(items_C), dtype=np.int64)
    for c, item in enumerate(items_C):
        found, values = gram.row(int(item))
        other = found != item
        found, values = found[other], values[other]
        if len(found) > width:
            cosine = values / np.sqrt(size_I[found])
            bound = np.partition(cosine, len(cosine) - width)[len(cosine) - width]
            above = np.flatnonzero(cosine > bound)
            level = np.flatnonzero(cosine == bound)[: width - len(above)]
            found = found[np.sort(np.concatenate([above, level]))]
        count_C[c] = len(found)
        near_CK[c, : len(found)] = found
    return near_CK, count_C

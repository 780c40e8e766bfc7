"""Ridge regressions of each item on its nearest items: a sparse item-to-item matrix.

Legend: U users, I items, J items of a run, C items of one batch of regressions, A items with about
as many neighbours, K neighbours of each.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csc_array, csr_array, diags_array

from recsys_vae.errors import UnusableSettingsError
from recsys_vae.models.item_gram import FloatArray, IntArray, ItemGram, batches, item_gram

_NOBODY: Final = 1e-12
"""Activity of a user without items."""
_SMALLEST: Final = np.float32(1e-30)
"""Size of an item without users."""
_AT_ONCE: Final = 4_096
"""Items whose neighbours are held."""
_BATCH_BYTES: Final = 64 * 2**20
_WIDTHS: Final = 32
"""Regressions are as wide as a multiple of this, so that no item's depends on those beside it."""


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
    gram = item_gram(
        csr_array(diags_array(degree_U ** (-damping / 2)) @ matrix_UI.astype(np.float64))
    )
    n_items = int(matrix_UI.shape[1])
    width = max(1, min(neighbours, n_items - 1))
    counts, near, values = [], [], []
    for start, run_JI in gram.runs():
        for first in range(0, run_JI.shape[0], _AT_ONCE):
            found = _nearest(run_JI[first : first + _AT_ONCE], start + first, gram.diagonal, width)
            weight_CK = _regressions(gram, found, ridge)
            inside_CK = found.inside
            counts.append(found.count_C)
            near.append(found.near_CK[inside_CK])
            values.append(weight_CK[inside_CK])
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    # Indices of 32 bits where they suffice, which is what `sparse_product` multiplies fast.
    narrow = indptr.astype(np.int32 if indptr[-1] < 2**31 else np.int64)
    columns = (np.concatenate(values), np.concatenate(near), narrow)
    del near, values
    weights_II = csr_array(csc_array(columns, shape=(n_items, n_items)))
    _quieten(weights_II, np.bincount(matrix_UI.indices, minlength=n_items), source_damping)
    return weights_II


@dataclass(frozen=True, slots=True)
class _Nearest:
    """The neighbours of some items.

    Attributes:
        near_CK: ascending, as far as there are any.
        with_CK: what X~'X~ has for them and the item, 0 behind the last.
        count_C: how many there are.
    """

    near_CK: IntArray
    with_CK: FloatArray
    count_C: npt.NDArray[np.int64]

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Where there is a neighbour, (C, K)."""
        inside_CK: npt.NDArray[np.bool_] = np.arange(self.near_CK.shape[1]) < self.count_C[:, None]
        return inside_CK


def _nearest(run_CI: csr_array, first: int, size_I: FloatArray, width: int) -> _Nearest:
    """Find the items of largest cosine to each item of a run of rows of X~'X~.

    Of equally similar items those with the lowest numbers are taken.
    """
    n_items = run_CI.shape[0]
    near_CK = np.zeros((n_items, width), dtype=np.int32)
    with_CK = np.zeros((n_items, width), dtype=np.float32)
    count_C = np.zeros(n_items, dtype=np.int64)
    for c in range(n_items):
        own = slice(*run_CI.indptr[c : c + 2])
        other = run_CI.indices[own] != first + c
        found, values = run_CI.indices[own][other], run_CI.data[own][other]
        if len(found) > width:
            cosine = values / np.sqrt(np.maximum(size_I[found], _SMALLEST))
            bound = np.partition(cosine, len(cosine) - width)[len(cosine) - width]
            above = np.flatnonzero(cosine > bound)
            level = np.flatnonzero(cosine == bound)[: width - len(above)]
            kept = np.sort(np.concatenate([above, level]))
            found, values = found[kept], values[kept]
        count_C[c] = len(found)
        near_CK[c, : len(found)], with_CK[c, : len(found)] = found, values
    return _Nearest(near_CK, with_CK, count_C)


def _regressions(gram: ItemGram, found: _Nearest, ridge: float) -> FloatArray:
    """Solve the regressions of some items, those with about as many neighbours together."""
    weight_CK = np.zeros_like(found.with_CK)
    steps_C = -(-found.count_C // _WIDTHS)
    for steps in np.unique(steps_C[steps_C > 0]):
        items_A = np.flatnonzero(steps_C == steps)
        width = min(int(steps) * _WIDTHS, weight_CK.shape[1])
        near_AK, inside_AK = found.near_CK[items_A, :width], found.inside[items_A, :width]
        for part in batches(gram.work(near_AK, inside_AK), _BATCH_BYTES // (4 * width * width)):
            among_CKK = gram.among(near_AK[part], inside_AK[part])
            items_C = items_A[part]
            weight_CK[items_C, :width] = _solve(among_CKK, found.with_CK[items_C, :width], ridge)
    return weight_CK


def _quieten(weights_II: csr_array, users_I: npt.NDArray[np.intp], source_damping: float) -> None:
    """Let what many have taken say less, and all together as much as before."""
    before = np.abs(weights_II.data).sum(dtype=np.float64)
    scale_I = (np.maximum(users_I, 1) ** -source_damping).astype(np.float32)
    weights_II.data *= np.repeat(scale_I, np.diff(weights_II.indptr))
    after = np.abs(weights_II.data).sum(dtype=np.float64)
    weights_II.data *= np.float32(before / after if after else 1.0)


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

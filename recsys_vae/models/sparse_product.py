"""Sparse histories times a sparse item-to-item matrix, into a dense buffer.

Legend: B users in the block, I items.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

_USERS_AT_ONCE: Final = 32
"""Users whose products stay near the processor while they are added up."""
_USERS_PER_THREAD: Final = 16
"""SciPy multiplies fewer sooner than a thread is started."""


def sparse_product(
    given: csr_array,
    matrix_II: csr_array,
    out_BI: Tensor | None = None,
    rows: slice | None = None,
) -> Tensor:
    """Multiply histories with a sparse matrix, by as many threads as torch has.

    Where torch has MKL the rows of the matrix are added up where they belong; elsewhere SciPy makes
    a sparse product first, which takes three to six times as long. A user's row does not depend on
    the others, to the last bit.

    Args:
        given: (B, I) histories, float32.
        matrix_II: float32; what has up to 2^31 entries should have indices of 32 bits.
        out_BI: float32, on the processor, to be filled and given back; None: new memory.
        rows: consecutive users who are wanted; None: all.

    Returns:
        (B, I) of the users that are wanted, dense, float32, on the processor.

    >>> x, matrix_II = csr_array([[0, 2.0]]), csr_array([[0, 0], [0.5, 1]])
    >>> sparse_product(x.astype("f"), matrix_II.astype("f")).tolist()
    [[1.0, 2.0]]
    """
    start, stop, _ = (rows or slice(None)).indices(given.shape[0])
    size = (stop - start, matrix_II.shape[1])
    found_BI = torch.empty(size) if out_BI is None else out_BI
    narrow = matrix_II.indices.dtype == matrix_II.indptr.dtype == np.int32
    if narrow and torch.backends.mkl.is_available():
        _by_mkl(given, matrix_II, found_BI, start)
    else:
        _by_scipy(given, matrix_II, found_BI, start)
    return found_BI


@cache
def _hear_warnings() -> None:
    """Hear in silence what PyTorch says once in a process; filters are no matter for threads."""
    one = np.zeros(1, dtype=np.int32)
    one.flags.writeable = False
    with warnings.catch_warnings():
        # PyTorch calls all of its CSR tensors a beta version.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)
        # Nothing is written to arrays that are lent to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        torch.from_numpy(one)


def csr_tensor(offsets: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Make torch's kind of sparse matrix, without a copy and without checks."""
    _hear_warnings()
    return torch.sparse_csr_tensor(offsets, columns, values, size, check_invariants=False)


def _by_mkl(given: csr_array, matrix_II: csr_array, found_BI: Tensor, first: int) -> None:
    right_II = _tensor(matrix_II.indptr, matrix_II.indices, matrix_II.data, matrix_II.shape[1])
    for part_BI in found_BI.split(_USERS_AT_ONCE):
        # SciPy takes longer to cut a row out than MKL to multiply it.
        offsets = given.indptr[first : first + len(part_BI) + 1]
        own = slice(offsets[0], offsets[-1])
        left_BI = _tensor(offsets - offsets[0], given.indices[own], given.data[own], given.shape[1])
        torch.addmm(part_BI, left_BI, right_II, beta=0.0, out=part_BI)
        first += len(part_BI)


def _tensor(
    offsets: npt.NDArray[np.integer],
    columns: npt.NDArray[np.integer],
    values: npt.NDArray[np.float32],
    width: int,
) -> Tensor:
    narrow = (one.astype(np.int32, copy=False) for one in (offsets, columns))
    _hear_warnings()
    parts = tuple(torch.from_numpy(one) for one in (*narrow, values))
    return csr_tensor(parts[0], parts[1], parts[2], (len(offsets) - 1, width))


def _by_scipy(given: csr_array, matrix_II: csr_array, found_BI: Tensor, first: int) -> None:
    n_users = len(found_BI)
    threads = max(1, min(torch.get_num_threads(), n_users // _USERS_PER_THREAD))
    bounds = np.linspace(0, n_users, threads + 1).astype(np.int64)

    def multiply(start: int, stop: int) -> None:
        own = given[first + start : first + stop]
        csr_array(own @ matrix_II).toarray(out=found_BI[start:stop].numpy())

    if threads == 1:
        multiply(0, n_users)
    else:
        with ThreadPoolExecutor(threads) as pool:  # SciPy lets others work meanwhile
            list(pool.map(multiply, bounds[:-1], bounds[1:]))

"""Sparse times sparse into a dense buffer: the same with MKL and with SciPy, row by row."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as examples
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.sparse import csr_array, random_array

from recsys_vae.models import sparse_product as module
from recsys_vae.models.sparse_product import sparse_product

WAYS = [
    pytest.param(
        "_by_mkl",
        marks=pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch has no MKL"),
    ),
    "_by_scipy",
]


def drawn(n_rows: int, n_columns: int, density: float, seed: int) -> csr_array:
    rng = np.random.default_rng(seed)
    drawn = random_array((n_rows, n_columns), density=density, rng=rng, dtype=np.float32)
    return csr_array(drawn)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("_by_mkl", "_by_scipy"):
        monkeypatch.setattr(module, name, getattr(module, request.param))
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("n_users", "density"), [(1, 0.1), (300, 0.05), (131, 1.0), (0, 0.0)])
def test_it_is_the_product(n_users: int, density: float) -> None:
    given, matrix_II = drawn(n_users, 90, density, 1), drawn(90, 90, 0.2, 2)
    found = sparse_product(given, matrix_II)
    assert (found.dtype, found.shape) == (torch.float32, (n_users, 90))
    wanted = given.toarray().astype(np.float64) @ matrix_II.toarray().astype(np.float64)
    assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("way")
def test_nothing_taken_or_nothing_said_is_zero() -> None:
    nothing = csr_array((5, 90), dtype=np.float32)
    assert not sparse_product(nothing, drawn(90, 90, 0.2, 2)).any()
    assert not sparse_product(drawn(5, 90, 0.2, 1), csr_array((90, 90), dtype=np.float32)).any()


@pytest.mark.usefixtures("way")
def test_a_row_does_not_depend_on_the_others_nor_on_threads() -> None:
    given, matrix_II = drawn(300, 90, 0.1, 3), drawn(90, 90, 0.3, 4)
    all_BI = sparse_product(given, matrix_II)
    for rows in (slice(0, 1), slice(127, 130), slice(250, 300)):
        assert torch.equal(sparse_product(csr_array(given[rows]), matrix_II), all_BI[rows])
        assert torch.equal(sparse_product(given, matrix_II, rows=rows), all_BI[rows])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        assert torch.equal(sparse_product(given, matrix_II), all_BI)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("way")
def test_what_must_not_be_written_to_is_read() -> None:
    matrix_II = drawn(90, 90, 0.3, 7)
    for part in (matrix_II.data, matrix_II.indices, matrix_II.indptr):
        part.flags.writeable = False
    found = sparse_product(matrix_II, matrix_II)
    assert_allclose(found, (matrix_II @ matrix_II).toarray(), rtol=1e-5, atol=1e-6)


def test_wide_indices_are_taken_as_they_are() -> None:
    given, matrix_II = drawn(20, 90, 0.1, 5), drawn(90, 90, 0.3, 6)
    wide: Any = csr_array(matrix_II, copy=True)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert wide.indices.dtype == np.int64
    assert_allclose(sparse_product(given, wide), sparse_product(given, matrix_II), rtol=1e-6)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch has no MKL")
@examples(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 60))
def test_both_ways_agree(seed: int, n_users: int, n_items: int) -> None:
    given, matrix_II = drawn(n_users, n_items, 0.3, seed), drawn(n_items, n_items, 0.3, seed + 1)
    found = [torch.full((n_users, n_items), torch.nan) for _ in range(2)]
    module._by_mkl(given, matrix_II, found[0], 0)
    module._by_scipy(given, matrix_II, found[1], 0)
    assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)

"""EASE keeps the contract, solves its own problem, and fits in memory once."""

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as generated
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.models import ease
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.ease import EASE, EASEConfig
from tests.contract import RecommenderContract
from tests.models.made_up import made_up


class TestEASE(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return EASE(EASEConfig(ridge=5.0))


def _column_by_column(X: npt.NDArray[np.float64], ridge: float) -> npt.NDArray[np.float64]:
    """Regress every item on all others: the problem that the closed form claims to solve."""
    n_items = X.shape[1]
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        others = np.delete(np.arange(n_items), item)
        left = X[:, others].T @ X[:, others] + ridge * np.eye(n_items - 1)
        weights[others, item] = np.linalg.solve(left, X[:, others].T @ X[:, item])
    return weights


@generated(seed=st.integers(0, 1_000), ridge=st.sampled_from([0.5, 5.0, 80.0]))
def test_every_column_is_the_ridge_regression_of_an_item_on_all_others(
    seed: int, ridge: float
) -> None:
    train = made_up(30, 12, 0.3, seed)
    expected = _column_by_column(train.matrix.toarray().astype(np.float64), ridge)
    weights = EASE(EASEConfig(ridge=ridge)).fit(train, FitOptions()).arrays()["weights_II"]
    # float32 (1e-7) times the condition number, below 100 here.
    assert np.abs(weights - expected).max() < 1e-5
    assert not np.diagonal(weights).any()


def test_the_matrix_is_worked_through_in_blocks_of_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train = made_up(40, 23, 0.2, 1)
    whole = EASE(EASEConfig(ridge=2.0)).fit(train, FitOptions()).arrays()["weights_II"]
    monkeypatch.setattr(ease, "_COLUMNS_AT_ONCE", 5)
    blocks = EASE(EASEConfig(ridge=2.0)).fit(train, FitOptions()).arrays()["weights_II"]
    assert np.array_equal(blocks, whole)


def test_scores_add_up_the_rows_of_what_was_taken() -> None:
    train = made_up(30, 12, 0.3, 0)
    model = EASE(EASEConfig(ridge=5.0)).fit(train, FitOptions())
    weights = model.arrays()["weights_II"]
    history = np.zeros((1, 12), dtype=np.float32)
    history[0, [2, 7]] = 1
    expected = weights[2] + weights[7] + model.tie_break
    assert np.array_equal(model.score(csr_array(history))[0], expected)


@pytest.mark.parametrize(("ridge", "matrices"), [(5.0, 1), (None, 2)])
def test_a_fit_holds_one_matrix_of_items_by_items_and_a_choice_two(
    monkeypatch: pytest.MonkeyPatch, ridge: float | None, matrices: int
) -> None:
    n_items = 1_500
    monkeypatch.setattr(ease, "_COLUMNS_AT_ONCE", 32)
    train = made_up(200, n_items, 0.01, 0)
    judged: list[Recommender] = []

    def worse_and_worse(model: Recommender) -> float:
        judged.append(model)
        return -len(judged)

    tracemalloc.start()
    try:
        EASE(EASEConfig(ridge=ridge)).fit(train, FitOptions(validate=worse_and_worse))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    whole = 4 * n_items**2
    # Beside the matrices: blocks of 32 columns and the sparse input, less than a tenth of one.
    assert matrices * whole <= peak < (matrices + 0.2) * whole


def test_a_ridge_too_small_for_float32_is_refused_in_one_sentence() -> None:
    # The same column twice: without a ridge that float32 can see nothing can be inverted.
    train = made_up(30, 3, 1.0, 0)
    with pytest.raises(InputError, match="ridge"):
        EASE(EASEConfig(ridge=1e-9)).fit(train, FitOptions())

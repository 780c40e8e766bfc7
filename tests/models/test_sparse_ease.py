"""Sparse EASE keeps the contract, and solves each item's regression on its nearest items."""

import gc
import math
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as generated
from hypothesis import strategies as st
from scipy.sparse import csr_array, vstack

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.models import item_blocks, item_gram
from recsys_vae.models import item_ridge as solver
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.closed_form import Arrays
from recsys_vae.models.ease import EASE, EASEConfig
from recsys_vae.models.item_ridge import item_ridge
from recsys_vae.models.sparse_ease import SparseEASE, SparseEASEConfig
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract
from tests.models.made_up import made_up


class TestSparseEASE(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return SparseEASE(SparseEASEConfig(ridge=5.0))


def _by_hand(
    X: npt.NDArray[np.float64],
    ridge: float,
    neighbours: int,
    damping: float,
    source_damping: float,
) -> npt.NDArray[np.float64]:
    """Regress every item on its nearest, straight from the formula."""
    users_I = np.maximum((X > 0).sum(axis=0), 1)
    counts_U = np.maximum(X.sum(axis=1), 1e-12) ** -damping
    ridge *= float(np.median(counts_U[X.any(axis=1)]))
    X = X * np.sqrt(counts_U)[:, None]
    n_items = X.shape[1]
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        shared = X.T @ X[:, item]
        cosine = shared / np.maximum(np.linalg.norm(X, axis=0), 1e-15)
        near = [i for i in np.argsort(-np.round(cosine, 9), kind="stable")
                if i != item and shared[i] > 0][:neighbours]  # fmt: skip
        left = X[:, near].T @ X[:, near] + ridge * np.eye(len(near))
        weights[near, item] = np.linalg.solve(left, shared[near])
    quieter = weights / users_I[:, None] ** source_damping
    found: npt.NDArray[np.float64] = (
        quieter * np.abs(weights).sum() / max(np.abs(quieter).sum(), 1e-300)
    )
    return found


@generated(
    seed=st.integers(0, 1_000),
    ridge=st.sampled_from([0.5, 5.0]),
    neighbours=st.sampled_from([1, 3, 11, 50]),
    damping=st.sampled_from([0.0, 0.5, 1.0]),
    source_damping=st.sampled_from([0.0, 0.3, 1.0]),
    dense=st.booleans(),
)
def test_every_column_is_the_ridge_regression_of_an_item_on_its_nearest(
    seed: int, ridge: float, neighbours: int, damping: float, source_damping: float, dense: bool
) -> None:
    train = made_up(30, 12, 0.3, seed)
    matrix = train.matrix.toarray().astype(np.float64)
    rng = np.random.default_rng(seed)
    # Weights that are no round numbers: no two items are equally similar to a third.
    matrix *= rng.uniform(0.5, 1.5, matrix.shape)
    given = type(train.matrix)(matrix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_gram, "_DENSE_SHARE", 0.1 if dense else 1.0)
        patch.setattr(item_blocks, "_ENTRIES", 30)
        found = item_ridge(
            given,
            ridge=ridge,
            neighbours=neighbours,
            damping=damping,
            source_damping=source_damping,
        )
    expected = _by_hand(matrix, ridge, neighbours, damping, source_damping)
    # float32 (1e-7) times the condition number, below 100 here.
    assert np.abs(found.toarray() - expected).max() < 1e-5


def test_with_all_items_as_neighbours_it_is_ease() -> None:
    train = made_up(60, 20, 0.3, 3)
    full = EASE(EASEConfig(ridge=2.0)).fit(train, FitOptions())
    config = SparseEASEConfig(ridge=2.0, neighbours=19, damping=0.0, source_damping=0.0)
    ours = SparseEASE(config).fit(train, FitOptions())
    # Where two items share no user, EASE's weight is not 0: those are neighbours of nobody here.
    shared = (train.matrix.T @ train.matrix).toarray()
    assert (shared > 0).all()
    assert np.abs(ours.score(train.matrix) - full.score(train.matrix)).max() < 1e-4


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["held", "made"])
@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (solver, "_BATCH_BYTES", 3 * 4 * 16 * 16),
        (solver, "_AT_ONCE", 5),
        (item_gram, "_ENTRIES", 60),
        (item_blocks, "_ENTRIES", 200),
    ],
    ids=["regressions", "neighbours", "users", "rows"],
)
def test_how_many_items_are_looked_at_together_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, share: float, module: ModuleType, name: str, value: int
) -> None:
    matrix = made_up(60, 50, 0.1, 1).matrix
    monkeypatch.setattr(item_gram, "_DENSE_SHARE", share)
    # Items have from 0 neighbours to more than are asked for: regressions of several widths.
    monkeypatch.setattr(solver, "_WIDTHS", 8)
    batches: list[int] = []
    solve = solver._solve

    def watched(among: npt.NDArray[np.float32], *rest: Any) -> npt.NDArray[np.float32]:
        batches.append(len(among))
        return solve(among, *rest)

    monkeypatch.setattr(solver, "_solve", watched)
    whole = item_ridge(matrix, ridge=3.0, neighbours=16, damping=0.5)
    together = len(batches)
    monkeypatch.setattr(module, name, value)
    parts = item_ridge(matrix, ridge=3.0, neighbours=16, damping=0.5)
    assert np.array_equal(parts.toarray(), whole.toarray())
    assert np.array_equal(parts.indices, whole.indices)
    # Of a matrix that is held, neither users nor its rows are cut by the numbers for those.
    if not (share == 0.0 and module is not solver):
        assert len(batches) - together > together


def test_the_matrix_of_many_items_is_held_only_where_most_pairs_share_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dense, sparse = (csr_array(made_up(60, 300, share, 1).matrix * 1.0) for share in (0.3, 0.005))
    assert isinstance(item_gram.item_gram(dense), item_gram._Held)
    assert isinstance(item_gram.item_gram(sparse), item_gram._Made)
    monkeypatch.setattr(item_gram, "_DENSE_BYTES", 4 * 300**2 - 1)
    assert isinstance(item_gram.item_gram(dense), item_gram._Made)


def test_an_item_that_shares_no_user_recommends_nothing_and_is_not_recommended() -> None:
    train = made_up(20, 6, 0.4, 0)
    matrix = train.matrix.toarray()
    matrix[:, 2] = 0
    weights = item_ridge(type(train.matrix)(matrix), ridge=1.0, neighbours=3, damping=0.5).toarray()
    assert not weights[2].any()
    assert not weights[:, 2].any()
    assert np.isfinite(weights).all()


def test_at_most_so_many_weights_an_item_and_none_of_itself() -> None:
    train = made_up(80, 40, 0.3, 5)
    weights = item_ridge(train.matrix, ridge=1.0, neighbours=4, damping=0.5).toarray()
    assert ((weights != 0).sum(axis=0) <= 4).all()
    assert not np.diagonal(weights).any()


def test_its_indices_are_those_that_are_multiplied_fast() -> None:
    weights = item_ridge(made_up(80, 40, 0.3, 5).matrix, ridge=1.0, neighbours=4, damping=0.5)
    assert weights.indices.dtype == weights.indptr.dtype == np.int32
    assert weights.has_sorted_indices


def test_users_without_items_change_nothing() -> None:
    matrix = made_up(40, 12, 0.3, 2).matrix
    nobody = type(matrix)((90, 12), dtype=matrix.dtype)
    more = type(matrix)(vstack([matrix, nobody]))
    with_them, without = (
        item_ridge(one, ridge=3.0, neighbours=5, damping=0.5, source_damping=0.2).toarray()
        for one in (more, matrix)
    )
    assert np.array_equal(with_them, without)


def test_a_ridge_too_small_for_items_that_are_alike_is_refused_with_a_sentence() -> None:
    alike = csr_array(np.ones((5, 3), np.float32))
    with pytest.raises(InputError, match="setting 'ridge' is too small for these data"):
        item_ridge(alike, ridge=1e-7, neighbours=2, damping=0.0)


def test_no_more_than_the_best_model_is_held_while_another_is_learned(
    checkerboard: Checkerboard,
) -> None:
    learned: list[weakref.ref[object]] = []
    held: list[int] = []

    class Watched(SparseEASE):
        def learn(self, train: Interactions, options: FitOptions) -> Arrays:
            gc.collect()
            held.append(sum(one() is not None for one in learned))
            arrays = super().learn(train, options)
            learned.append(weakref.ref(arrays["weights_II.data"]))
            return arrays

    metrics = iter([0.5, 0.4, 0.3, 0.2])
    Watched().fit(checkerboard.train, FitOptions(validate=lambda _: next(metrics)))
    assert held == [0, 1, 1, 1]


def test_a_first_candidate_without_a_metric_is_left(checkerboard: Checkerboard) -> None:
    metrics = iter([math.nan, 0.5, 0.6, 0.1])
    model = SparseEASE().fit(checkerboard.train, FitOptions(validate=lambda _: next(metrics)))
    assert model.config.model_dump()["ridge"] == 180

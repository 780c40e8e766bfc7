"""ItemKNN keeps the contract, and agrees with dense arithmetic."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_array

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models import item_blocks
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.closed_form import join_parts
from recsys_vae.models.item_knn import ItemKNN, ItemKNNConfig
from tests.contract import RecommenderContract
from tests.models.made_up import made_up

Matrix = npt.NDArray[np.float64]


class TestItemKNN(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN()


class TestItemKNNWithPlainCosine(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return _cosine(24)


class TestItemKNNWithTFIDF(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN(ItemKNNConfig(weighting="tf-idf", neighbours=24))


class TestItemKNNWithBM25(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN(ItemKNNConfig(weighting="bm25", neighbours=24))


def _cosine(neighbours: int) -> ItemKNN:
    plain: dict[str, Any] = {"weighting": "cosine", "user_damping": 0, "source_share": 0.5}
    return ItemKNN(ItemKNNConfig(neighbours=neighbours, **plain))


def _similarity(model: ItemKNN, train: Interactions) -> Matrix:
    """What a history of nothing but item i gives to item j: s_ij."""
    fitted = model.fit(train, FitOptions())
    kept: Matrix = join_parts("similarity_II", fitted.arrays(), len(train.items)).toarray()
    return kept.astype(np.float64)


def _weights(X: Matrix, config: ItemKNNConfig) -> Matrix:
    idf_U = np.log(X.shape[1] / (1 + np.count_nonzero(X, axis=1)))[:, None]
    if config.weighting == "cosine":
        return X
    if config.weighting == "tf-idf":
        weights: Matrix = np.sqrt(X) * idf_U
        return weights
    total_I = X.sum(axis=0)
    b, k1 = config.bm25_length, config.bm25_saturation
    saturated: Matrix = X * (k1 + 1) / (k1 * (1 - b + b * total_I / total_I.mean()) + X) * idf_U
    return saturated


def _by_hand(X: Matrix, config: ItemKNNConfig) -> Matrix:
    """Add up the definition, user by user and pair by pair; None has been set."""
    W = _weights(X, config)
    assert config.user_damping is not None
    assert config.source_share is not None
    n_items = X.shape[1]
    expected = np.zeros((n_items, n_items))
    for i in range(n_items):
        for j in set(range(n_items)) - {i}:
            common = sum(
                np.count_nonzero(x) ** -config.user_damping * w[i] * w[j]
                for x, w in zip(X, W, strict=True)
                if x.any()
            )
            source = np.linalg.norm(W[:, i]) ** (2 * config.source_share)
            target = np.linalg.norm(W[:, j]) ** (2 - 2 * config.source_share)
            below = 1 if config.weighting == "bm25" else source * target + config.shrinkage
            expected[i, j] = common / below
    return expected


@pytest.mark.parametrize(
    "settings",
    [
        {"weighting": "cosine", "user_damping": 0, "source_share": 0.5},
        {"weighting": "cosine", "user_damping": 0.5, "source_share": 0.6},
        {"weighting": "cosine", "user_damping": 1, "source_share": 1, "shrinkage": 3},
        {"weighting": "tf-idf", "user_damping": 0, "source_share": 0.5},
        {"weighting": "tf-idf", "user_damping": 0.3, "source_share": 0.2, "shrinkage": 0.7},
        {"weighting": "bm25", "user_damping": 0, "source_share": 0.5},
        {"weighting": "bm25", "user_damping": 0.5, "source_share": 0.9, "bm25_saturation": 2.0,
         "bm25_length": 0.6, "shrinkage": 3},
    ],
)  # fmt: skip
@pytest.mark.parametrize("graded", [False, True])
def test_similarities_are_those_of_the_definition(settings: dict[str, Any], graded: bool) -> None:
    train = made_up(40, 15, 0.3, 0)
    if graded:
        stars = np.random.default_rng(1).integers(1, 6, train.matrix.nnz).astype(np.float32)
        parts = (stars, train.matrix.indices, train.matrix.indptr)
        train = Interactions(train.users, train.items, csr_array(parts, train.matrix.shape))
    config = ItemKNNConfig(neighbours=15, **settings)
    expected = _by_hand(train.matrix.toarray().astype(np.float64), config)
    found = _similarity(ItemKNN(config), train)
    # Computed in float64 and rounded to float32 once.
    assert np.abs(found - expected).max() <= 2.0**-23 * expected.max()


def test_scores_are_sums_of_the_similarities_of_what_was_taken() -> None:
    train = made_up(40, 15, 0.3, 0)
    model = _cosine(15)
    expected = train.matrix.toarray() @ _similarity(model, train) + model.tie_break
    # Sums of up to 15 float32 terms against float64.
    assert np.abs(model.score(train.matrix) - expected).max() < 1e-6 * expected.max()


def test_an_item_is_scored_by_its_nearest_neighbours_only() -> None:
    train = made_up(60, 15, 0.3, 3)
    near, full = (_similarity(_cosine(count), train) for count in (4, 15))
    for j in range(15):
        kept = np.flatnonzero(near[:, j])
        assert len(kept) == 4
        assert j not in kept
        assert np.array_equal(near[kept, j], full[kept, j])
        assert near[kept, j].min() >= np.delete(full[:, j], kept).max()
    # It is the scored item that has four: an item taken may be near to more or to fewer.
    assert set(np.count_nonzero(near, axis=1)) != {4}


def test_of_equally_similar_items_the_first_are_kept() -> None:
    # Everybody took everything: every cosine is 1.
    train = made_up(3, 6, 1.1, 0)
    near = _similarity(_cosine(2), train)
    assert np.flatnonzero(near[:, 0]).tolist() == [1, 2]
    assert np.flatnonzero(near[:, 1]).tolist() == [0, 2]
    assert np.flatnonzero(near[:, 5]).tolist() == [0, 1]


@pytest.mark.parametrize("entries", [1, 40, 2**40])
def test_how_many_similarities_are_held_at_once_does_not_matter(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = made_up(60, 25, 0.2, 3)
    expected = _cosine(4).fit(train, FitOptions()).arrays()
    monkeypatch.setattr(item_blocks, "_ENTRIES", entries)
    found = _cosine(4).fit(train, FitOptions()).arrays()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_visible_arithmetic_of_the_cosine(small: Interactions) -> None:
    # Item 2 was taken by u0 and u2, item 3 by u2 alone: 1 / (sqrt(2) sqrt(1)).
    model = _cosine(4).fit(small, FitOptions())
    history = csr_array(np.array([[0, 0, 0, 1]], dtype=np.float32))
    assert model.score(history)[0] == pytest.approx([0, 0, 0.5**0.5, 0], abs=1e-6)


def test_a_user_of_many_items_counts_less() -> None:
    # One user took items 0 and 1, another items 0, 2, 3 and 4.
    matrix = csr_array(np.array([[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]], dtype=np.float32))
    train = Interactions(IdMap.of(np.arange(2)), IdMap.of(np.arange(5)), matrix)
    for damping, ratio in ((0.0, 1.0), (0.5, 2**0.5), (1.0, 2.0)):
        config = ItemKNNConfig(
            weighting="cosine", neighbours=5, user_damping=damping, source_share=0.5
        )
        found = _similarity(ItemKNN(config), train)
        assert found[0, 1] / found[0, 2] == pytest.approx(ratio)


def test_a_user_who_took_all_items_but_one_weighs_nothing_and_divides_by_nothing() -> None:
    # log(3 items / (1 + 2 items)) = 0, so items 0 and 1 are left without any weight.
    matrix = csr_array(np.array([[1, 1, 0], [0, 0, 1]], dtype=np.float32))
    train = made_up(2, 3, 1.0, 0)
    train = Interactions(train.users, train.items, matrix)
    config = ItemKNNConfig(weighting="tf-idf", neighbours=3)
    model = ItemKNN(config).fit(train, FitOptions())
    assert np.array_equal(model.score(matrix), np.tile(model.tie_break, (2, 1)))


def test_items_that_nobody_took_and_users_that_took_nothing_are_like_nothing() -> None:
    matrix = csr_array(np.array([[1, 1, 0], [0, 0, 0]], dtype=np.float32))
    train = Interactions(IdMap.of(np.arange(2)), IdMap.of(np.arange(3)), matrix)
    for weighting in ("cosine", "tf-idf", "bm25"):
        config = ItemKNNConfig.model_validate({"weighting": weighting, "user_damping": 1})
        found = _similarity(ItemKNN(config), train)
        assert np.isfinite(found).all()
        assert not found[2].any()
        assert not found[:, 2].any()

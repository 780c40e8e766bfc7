"""ItemKNN keeps the contract, and agrees with dense arithmetic."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.item_knn import ItemKNN, ItemKNNConfig, Weighting
from tests.contract import RecommenderContract
from tests.models.made_up import made_up

Matrix = npt.NDArray[np.float64]


class TestItemKNN(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN(ItemKNNConfig(weighting="cosine", neighbours=24))


class TestItemKNNWithTFIDF(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN(ItemKNNConfig(weighting="tf-idf", neighbours=24))


class TestItemKNNWithBM25(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return ItemKNN(ItemKNNConfig(weighting="bm25", neighbours=24))


def _weights(X: Matrix, weighting: Weighting) -> Matrix:
    idf_U = np.log(X.shape[1] / (1 + X.sum(axis=1)))[:, None]
    if weighting == "bm25":
        length_I = 1 - 0.6 + 0.6 * X.sum(axis=0) / X.sum(axis=0).mean()
        saturated: Matrix = X * (2.0 + 1) / (2.0 * length_I + X) * idf_U
        return saturated
    weights: Matrix = X * idf_U if weighting == "tf-idf" else X
    scaled: Matrix = weights / np.linalg.norm(weights, axis=0)
    return scaled


@pytest.mark.parametrize("weighting", ["cosine", "tf-idf", "bm25"])
def test_similarities_are_products_of_the_weighted_columns(weighting: Weighting) -> None:
    train = made_up(40, 15, 0.3, 0)
    config = ItemKNNConfig(weighting=weighting, neighbours=15, bm25_saturation=2.0, bm25_length=0.6)
    scores = ItemKNN(config).fit(train, FitOptions()).score(train.matrix)
    X = train.matrix.toarray().astype(np.float64)
    W = _weights(X, weighting)
    expected = X @ (W.T @ W)
    # Sums of 15 float32 terms against float64.
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()


def test_only_an_items_nearest_neighbours_score() -> None:
    train = made_up(60, 15, 0.3, 3)
    config = ItemKNNConfig(weighting="cosine", neighbours=4)
    single = csr_array(np.eye(15, dtype=np.float32))
    near = ItemKNN(config).fit(train, FitOptions()).score(single)
    W = _weights(train.matrix.toarray().astype(np.float64), "cosine")
    expected = W.T @ W
    # Similarities within 0..1, rounded to float32.
    assert np.abs(near - expected)[near > 0].max() < 1e-6
    assert (np.count_nonzero(near, axis=1) == 4).all()
    # The item itself is the first of its four neighbours; of equal ones any will do.
    assert np.sort(near, axis=1)[:, -4:] == pytest.approx(np.sort(expected, axis=1)[:, -4:])


def test_visible_arithmetic_of_the_cosine(small: Interactions) -> None:
    # Item 2 was taken by u0 and u2, item 3 by u2 alone: 1 / (sqrt(2) sqrt(1)).
    config = ItemKNNConfig(weighting="cosine", neighbours=4)
    model = ItemKNN(config).fit(small, FitOptions())
    history = csr_array(np.array([[0, 0, 0, 1]], dtype=np.float32))
    assert model.score(history)[0] == pytest.approx([0, 0, 0.5**0.5, 1], abs=1e-6)


def test_a_user_who_took_all_items_but_one_weighs_nothing_and_divides_by_nothing() -> None:
    # log(3 items / (1 + 2 items)) = 0, so items 0 and 1 are left without any weight.
    matrix = csr_array(np.array([[1, 1, 0], [0, 0, 1]], dtype=np.float32))
    train = made_up(2, 3, 1.0, 0)
    train = Interactions(train.users, train.items, matrix)
    config = ItemKNNConfig(weighting="tf-idf", neighbours=3)
    scores = ItemKNN(config).fit(train, FitOptions()).score(matrix)
    assert scores == pytest.approx(np.array([[0, 0, 0], [0, 0, 1]]), abs=1e-6)

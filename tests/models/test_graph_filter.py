"""The graph filter keeps the contract, and agrees with dense arithmetic."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.graph_filter import GraphFilter, GraphFilterConfig
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract
from tests.models.made_up import made_up


class TestGraphFilter(RecommenderContract):
    random = False

    def make(self) -> Recommender:
        return GraphFilter(GraphFilterConfig(rank=2, low_pass=0.3))


@pytest.mark.parametrize("low_pass", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_scores_are_those_of_a_dense_decomposition(rank: int, low_pass: float) -> None:
    train = made_up(40, 15, 0.3, 0)
    model = GraphFilter(GraphFilterConfig(rank=rank, low_pass=low_pass))
    scores = model.fit(train, FitOptions()).score(train.matrix)
    X = train.matrix.toarray().astype(np.float64)
    # A user without items has an empty row, whatever it is divided by.
    degree_U, degree_I = X.sum(axis=1).clip(min=1), X.sum(axis=0)
    R = X / np.sqrt(degree_U)[:, None] / np.sqrt(degree_I)
    V = np.linalg.svd(R)[2][:rank].T
    low = (X / np.sqrt(degree_I)) @ V @ V.T * np.sqrt(degree_I)
    expected = X @ R.T @ R + low_pass * low
    # Sums of 15 float32 terms against float64.
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_rank_beyond_the_data_is_cut(checkerboard: Checkerboard) -> None:
    model = GraphFilter(GraphFilterConfig(rank=1_000)).fit(checkerboard.train, FitOptions())
    assert model.arrays()["basis_IK"].shape == (24, 23)


def test_what_nobody_took_says_nothing_and_what_is_alike_gives_no_vector() -> None:
    rng = np.random.default_rng(0)
    dense_UI = np.zeros((400, 300), np.float32)
    dense_UI[:, :100] = rng.random((400, 100)) < 0.03
    dense_UI[:, 100:200] = dense_UI[:, :100]
    train = Interactions(IdMap.of(range(400)), IdMap.of(range(300)), csr_array(dense_UI))
    model = GraphFilter(GraphFilterConfig(rank=256, low_pass=0.3)).fit(train, FitOptions())
    assert model.arrays()["basis_IK"].shape == (300, 100)
    given = np.zeros((2, 300), np.float32)
    given[:, [1, 5, 9]] = 1
    given[1, 280] = 1
    scores = model.score(csr_array(given))
    assert np.array_equal(scores[0], scores[1])
    assert scores[0].max() > 0.1


def test_without_a_positive_entry_nothing_is_said_but_how_many_took_what() -> None:
    nothing = csr_array((np.zeros(4, np.float32), ([0, 1, 2, 2], [0, 1, 2, 0])), shape=(3, 4))
    train = Interactions(IdMap.of(range(3)), IdMap.of(range(4)), nothing)
    model = GraphFilter(GraphFilterConfig()).fit(train, FitOptions())
    scores = model.score(csr_array(np.ones((1, 4), np.float32)))
    assert np.array_equal(scores[0], model.tie_break)


def test_one_user_is_enough(small: Interactions) -> None:
    one = small.rows(np.array([0]))
    model = GraphFilter(GraphFilterConfig()).fit(one, FitOptions())
    # Three items of one user: R = 1 / sqrt(3), R'R = 1 / 3, three of which add up to 1.
    assert model.score(one.matrix)[0] == pytest.approx([1, 1, 1, 0], abs=1e-6)


def test_the_weight_is_chosen_without_learning_again(
    checkerboard: Checkerboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []
    learn = GraphFilter.learn

    def counted(self: GraphFilter, train: Interactions, options: FitOptions) -> object:
        learned.append(1)
        return learn(self, train, options)

    monkeypatch.setattr(GraphFilter, "learn", counted)
    judged: list[float] = []

    def validate(model: Recommender) -> float:
        judged.append(model.config.model_dump()["low_pass"])
        return -abs(judged[-1] - 1.0)

    model = GraphFilter(GraphFilterConfig(rank=2))
    model.fit(checkerboard.train, FitOptions(validate=validate))
    assert len(learned) == 1
    assert sorted(judged) == [0, 0.1, 0.3, 1, 3]
    assert model.config.model_dump()["low_pass"] == 1

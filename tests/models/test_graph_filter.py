"""The graph filter keeps the contract, and agrees with dense arithmetic."""

import numpy as np
import pytest

from recsys_vae.interactions import Interactions
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

"""Random keeps the contract, is repeatable, and favours nothing."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.random import Random
from tests.contract import RecommenderContract
from tests.models.made_up import made_up


class TestRandom(RecommenderContract):
    learns_tastes = False

    def make(self) -> Recommender:
        return Random()


def test_scores_are_uniform_for_each_user_and_each_item() -> None:
    train = made_up(400, 300, 0.1, 0)
    scores = Random().fit(train, FitOptions()).score(train.matrix)
    assert 0 <= scores.min() < scores.max() < 1
    # Each tenth of [0, 1) gets a tenth of 120,000 scores: 12,000 with a standard deviation of 104.
    counts = np.histogram(scores, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 12_000).max() < 5 * 104
    # Means of 300 and of 400 uniform numbers: deviations of .0167 and .0144; five of them.
    assert np.abs(scores.mean(axis=1) - 0.5).max() < 5 * 0.0167
    assert np.abs(scores.mean(axis=0) - 0.5).max() < 5 * 0.0144


def test_users_with_other_histories_get_unrelated_lists() -> None:
    train = made_up(50, 2_000, 0.1, 0)
    scores = Random().fit(train, FitOptions()).score(train.matrix)
    related = np.corrcoef(scores) - np.eye(50)
    # 1,225 correlations of 2,000 numbers each: deviation 1 / sqrt(2000) = .0224; five of them.
    assert np.abs(related).max() < 5 * 0.0224


def test_an_item_keeps_its_score_when_others_leave_the_catalogue() -> None:
    few = Interactions.from_frame(pd.DataFrame({"user": [0, 0], "item": ["b", "d"]}))
    many = Interactions.from_frame(pd.DataFrame({"user": [0] * 4, "item": ["a", "b", "c", "d"]}))
    nobody = Random().fit(few, FitOptions()).score(csr_array((1, 2), dtype=np.float32))
    assert np.array_equal(
        nobody,
        Random().fit(many, FitOptions()).score(csr_array((1, 4), dtype=np.float32))[:, [1, 3]],
    )


def test_equal_histories_get_equal_scores_in_whatever_order_they_are_stored() -> None:
    train = made_up(10, 6, 0.5, 0)
    model = Random().fit(train, FitOptions())
    ones = np.ones(3, dtype=np.float32)
    stored = csr_array((ones, [0, 3, 4], [0, 3]), shape=(1, 6))
    turned = csr_array((ones, [4, 0, 3], [0, 3]), shape=(1, 6))
    assert np.array_equal(model.score(stored), model.score(turned))

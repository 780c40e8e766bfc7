"""Popularity keeps the contract, and counts."""

import numpy as np

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.popularity import Popularity
from tests.contract import RecommenderContract


class TestPopularity(RecommenderContract):
    learns_tastes = False
    random = False

    def make(self) -> Recommender:
        return Popularity()


def test_everyone_gets_the_number_of_users_that_took_each_item(small: Interactions) -> None:
    # Item 0: u0. Item 1: u0 and u1. Item 2: u0 and u2. Item 3: u2.
    scores = Popularity().fit(small, FitOptions()).score(small.matrix)
    assert np.array_equal(scores, [[1, 2, 2, 1]] * 3)

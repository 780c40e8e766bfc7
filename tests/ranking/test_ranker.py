"""Lists do not depend on who else is in the block, for any kind of model."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_vae.models.base import FitOptions, LinearRecommender, Recommender
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import ItemRules, Making, NotFiniteError, Ranker, rank
from tests.models.made_up import made_up

MODELS: dict[str, dict[str, Any]] = {
    "mult-vae": {"hidden": [16], "latent": 8, "training": {"epochs": 2, "batch_size": 16}},
    "latent-diffusion": {"hidden": [16], "latent": 8, "training": {"epochs": 2, "batch_size": 16}},
    "vq-vae": {"hidden": [16], "training": {"epochs": 2, "batch_size": 16}},
    "als": {"factors": 8},
    "bpr": {"factors": 8, "iterations": 5},
    "ease": {},
    "popularity": {},
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Recommender:
    data = made_up(80, 60, 0.2, 1)
    return make_model(request.param, MODELS[request.param]).fit(data, FitOptions(device="cpu"))


@pytest.fixture(scope="module")
def given() -> csr_array:
    matrix = made_up(600, 60, 0.2, 5).matrix.copy()
    matrix.data[matrix.indptr[7] : matrix.indptr[8]] = 0
    matrix.eliminate_zeros()
    return csr_array(matrix)


def test_which_models_are_products() -> None:
    products = {name for name in MODELS if isinstance(make_model(name, {}), LinearRecommender)}
    assert products == {"mult-vae", "latent-diffusion", "vq-vae", "als", "bpr"}


def test_lists_are_those_of_the_scores(model: Recommender, given: csr_array) -> None:
    rules = ItemRules.of(model.items, blocked=[3, 4])
    fast = Ranker(model, 20, Making(rules=rules)).lists(given)
    plain = rank(model.score(given), given, 20, rules)
    # Scores of one list may differ by rounding alone, and then stand the other way round.
    assert np.allclose(fast.scores_BK, plain.scores_BK, rtol=1e-4, atol=1e-5)
    assert (fast.items_BK == plain.items_BK).mean() > 0.99
    assert ((fast.items_BK < 0) == (plain.items_BK < 0)).all()


@pytest.mark.parametrize("size", [1, 7, 100, 511, 512, 513])
def test_a_list_is_the_same_in_any_block(model: Recommender, given: csr_array, size: int) -> None:
    whole = Ranker(model, 10).lists(given)
    ranker = Ranker(model, 10)
    for start in range(0, 600 if size > 7 else 20 * size, size):
        some = ranker.lists(given[start : start + size])
        assert np.array_equal(some.items_BK, whole.items_BK[start : start + size])
        if isinstance(model, LinearRecommender):
            assert np.array_equal(some.scores_BK, whole.scores_BK[start : start + size])


def test_the_number_of_threads_changes_no_list(model: Recommender, given: csr_array) -> None:
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(Ranker(model, 10).lists(given))
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(one.items_BK, made[0].items_BK) for one in made)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_the_user(bad: float) -> None:
    data = made_up(30, 20, 0.3, 1)
    model = make_model("als", {"factors": 4}).fit(data, FitOptions(device="cpu"))

    class Broken:
        name, items, folds_in = "broken", model.items, True

        def score(self, given: csr_array) -> Any:
            scores = model.score(given)
            scores[3, 5] = bad
            return scores

    broken: Any = Broken()
    users = np.array([f"user-{n}" for n in range(30)], dtype=object)
    with pytest.raises(NotFiniteError, match="the scores of user 'user-3' are not finite"):
        Ranker(broken, 4).make(users, data.matrix)


def test_nobody_is_answered_with_nothing(model: Recommender) -> None:
    assert Ranker(model, 4).lists(csr_array((0, 60), dtype=np.float32)).items_BK.shape == (0, 4)

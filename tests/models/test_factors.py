"""BPR and logistic matrix factorisation keep the contract, and fold in by regression."""

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from scipy.stats import spearmanr

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.bpr import BPR, BPRConfig
from recsys_vae.models.closed_form import Arrays
from recsys_vae.models.factors import features, fold_in_map
from recsys_vae.models.logistic_mf import LogisticMF, LogisticMFConfig
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract
from tests.models.made_up import made_up


class TestBPR(RecommenderContract):
    def make(self) -> Recommender:
        return BPR(BPRConfig(factors=4, regularization=0.01))


class TestLogisticMF(RecommenderContract):
    def make(self) -> Recommender:
        return LogisticMF(LogisticMFConfig(factors=4, regularization=0.6))


def test_a_history_is_described_by_sum_mean_and_length() -> None:
    given = csr_array(np.array([[1, 1, 0], [0, 0, 0]], dtype=np.float32))
    factors = np.array([[1, 0], [3, 4], [9, 9]], dtype=np.float32)
    expected = [[4, 4, 2, 2, 2**0.5, 1], [0, 0, 0, 0, 0, 1]]
    assert features(given, factors) == pytest.approx(np.array(expected), abs=1e-6)


def test_factors_that_are_linear_in_the_history_are_found_again() -> None:
    train = made_up(500, 20, 0.3, 0)
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((20, 3)).astype(np.float32)
    known = features(train.matrix, factors)
    users = known @ rng.standard_normal((8, 3))
    found = known @ fold_in_map(train.matrix, users, factors)
    # The ridge of a thousandth moves the fit by about as much, a little more where regressors
    # (sum and mean) are alike.
    assert np.abs(found - users).mean() < 0.02 * np.abs(users).mean()


@pytest.mark.parametrize("kind", ["bpr", "logistic-mf"])
def test_folded_in_users_are_scored_as_the_library_scores_them(
    checkerboard: Checkerboard, kind: str
) -> None:
    """The users' own learned factors are the oracle: histories tell nearly all of them."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking
    from implicit.cpu.lmf import LogisticMatrixFactorization

    settings: dict[str, float]
    model: Recommender
    if kind == "bpr":
        settings = {"factors": 4, "regularization": 0.05, "learning_rate": 0.1, "iterations": 50}
        library = BayesianPersonalizedRanking(**settings, num_threads=1, random_state=0)
        model = BPR(BPRConfig.model_validate({**settings, "popularity": 0.0}))
    else:
        settings = {"factors": 4, "regularization": 0.6, "learning_rate": 1.0, "iterations": 30}
        library = LogisticMatrixFactorization(**settings, num_threads=1, random_state=0)
        model = LogisticMF(LogisticMFConfig.model_validate(settings))
    matrix = checkerboard.train.matrix
    library.fit(csr_matrix(matrix), show_progress=False)
    expected = library.user_factors @ library.item_factors.T
    scores = model.fit(checkerboard.train, FitOptions(seed=0)).score(matrix)
    # A user's bias moves all scores of the user alike.
    expected -= expected.mean(axis=1, keepdims=True)
    scores = scores - scores.mean(axis=1, keepdims=True)
    for mine, theirs in zip(scores, expected, strict=True):
        # Users with the same history differ by the negatives that were drawn for them; a history
        # of the other colour correlates negatively.
        assert np.corrcoef(mine, theirs)[0, 1] > 0.95


def _by_popularity(n_users: int, n_items: int) -> Interactions:
    """Make users who take items by their popularity alone, of which the first have most."""
    share_I = 0.5 / np.arange(1, n_items + 1) ** 0.7
    taken_UI = np.random.default_rng(0).random((n_users, n_items)) < share_I
    matrix = csr_array(taken_UI.astype(np.float32))
    return Interactions(IdMap.of(range(n_users)), IdMap.of(range(n_items)), matrix)


def test_what_negatives_by_popularity_take_from_popular_items_is_given_back() -> None:
    train = _by_popularity(2_000, 40)
    users_I = train.matrix.sum(axis=0)
    ranks = {}
    for weight in (0.0, 1.0):
        config = BPRConfig(factors=1, regularization=0.01, iterations=60, popularity=weight)
        model = BPR(config).fit(train, FitOptions(seed=0))
        scores_I = model.score(train.matrix[:500]).mean(axis=0)
        ranks[weight] = spearmanr(scores_I, users_I).statistic
    # What everybody takes as likely as anybody is to be ranked by how likely that is.
    assert ranks[1.0] > 0.9
    assert ranks[0.0] < 0.5


def test_popularity_counts_users_whatever_they_gave() -> None:
    train = made_up(30, 12, 0.3, 0)
    weighted = train.matrix.copy()
    weighted.data[:] = np.random.default_rng(0).integers(1, 6, len(weighted.data))
    config = BPRConfig(factors=2, iterations=1)
    model = BPR(config).fit(Interactions(train.users, train.items, weighted), FitOptions())
    assert np.array_equal(model.arrays()["item_users_I"], train.matrix.sum(axis=0))


def test_the_weight_of_popularity_is_chosen_without_descending_again(
    checkerboard: Checkerboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[float] = []
    learn = BPR.learn

    def counted(self: BPR, train: Interactions, options: FitOptions) -> Arrays:
        learned.append(self.config.model_dump()["regularization"])
        return learn(self, train, options)

    monkeypatch.setattr(BPR, "learn", counted)

    def validate(model: Recommender) -> float:
        config = model.config.model_dump()
        return 1.0 if (config["regularization"], config["popularity"]) == (0.003, 0.5) else 0.0

    model = BPR(BPRConfig(factors=2, iterations=2))
    model.fit(checkerboard.train, FitOptions(validate=validate))
    assert learned == [0.001, 0.0001, 0.0003, 0.003, 0.01]
    assert (model.config.model_dump()["regularization"]) == 0.003
    assert (model.config.model_dump()["popularity"]) == 0.5

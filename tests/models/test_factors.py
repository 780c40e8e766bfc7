"""BPR and logistic matrix factorisation keep the contract, and fold in by regression."""

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.bpr import BPR, BPRConfig
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
        model = BPR(BPRConfig.model_validate(settings))
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

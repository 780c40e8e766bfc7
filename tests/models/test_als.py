"""ALS keeps the contract, and folds users in by its own normal equations."""

from pathlib import Path

import numpy as np
import pytest

from recsys_vae.errors import UnusableSettingsError
from recsys_vae.models.als import ALS, ALSConfig
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import load_model, save_model
from tests.conftest import Checkerboard
from tests.contract import RecommenderContract

_ALPHA, _RIDGE = 5.0, 2.0
_CONFIG = ALSConfig(factors=4, alpha=_ALPHA, regularization=_RIDGE)


class TestALS(RecommenderContract):
    def make(self) -> Recommender:
        return ALS(_CONFIG)


def test_a_folded_in_user_solves_the_normal_equations_of_hu_et_al(
    checkerboard: Checkerboard,
) -> None:
    model = ALS(_CONFIG).fit(checkerboard.train, FitOptions(seed=3))
    Y = model.arrays()["item_factors_IF"].astype(np.float64)
    given = checkerboard.train.matrix[[0, 1, 5]]
    expected = []
    for row in given.toarray().astype(np.float64):
        # (Y' C Y + lambda I) x = Y' C p with c = alpha on taken items and 1 elsewhere.
        confidence = np.where(row > 0, _ALPHA, 1.0)
        left = Y.T @ (confidence[:, None] * Y) + _RIDGE * np.eye(Y.shape[1])
        expected.append(Y @ np.linalg.solve(left, Y.T @ (confidence * (row > 0))))
    # float32 against float64: scores are of size 1, the systems are well conditioned.
    assert np.abs(model.score(given) - np.array(expected)).max() < 1e-4


def test_more_factors_than_items_need_a_ridge(checkerboard: Checkerboard) -> None:
    config = ALSConfig(factors=64, regularization=0.0)
    with pytest.raises(UnusableSettingsError, match=r"setting 'regularization'.* a larger one"):
        ALS(config).fit(checkerboard.train, FitOptions())


def test_the_training_users_factors_are_not_kept(checkerboard: Checkerboard) -> None:
    model = ALS(_CONFIG).fit(checkerboard.train, FitOptions())
    shapes = {name: array.shape for name, array in model.arrays().items()}
    assert shapes == {"item_factors_IF": (24, 4), "popularity_I": (24,)}


def test_without_a_ridge_in_its_settings_the_one_that_validates_best_is_kept(
    checkerboard: Checkerboard, tmp_path: Path
) -> None:
    judged: list[tuple[float, Recommender, bytes]] = []

    def validate(model: Recommender) -> float:
        # The second of the candidates is best.
        metric = 1.0 if len(judged) == 1 else 0.5
        scores = model.score(checkerboard.train.matrix).tobytes()
        judged.append((model.config.model_dump()["regularization"], model, scores))
        return metric

    options = FitOptions(validate=validate)
    model = ALS(ALSConfig(factors=4)).fit(checkerboard.train, options)
    ridge, _, scores = judged[1]
    assert len({one[0] for one in judged}) == len(judged) > 2
    assert model.config.model_dump()["regularization"] == ridge
    assert model.score(checkerboard.train.matrix).tobytes() == scores
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").score(checkerboard.train.matrix).tobytes() == scores

"""Settings that are left open are chosen on validation, with the same budget for every model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.models.als import ALS
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.bpr import BPR
from recsys_vae.models.closed_form import ArrayRecommender, join_parts, sparse_parts
from recsys_vae.models.ease import EASE
from recsys_vae.models.graph_filter import GraphFilter
from recsys_vae.models.item_knn import ItemKNN
from recsys_vae.models.logistic_mf import LogisticMF
from recsys_vae.models.zoo import load_model, make_model, save_model
from tests.conftest import Checkerboard

_CHOOSING: list[tuple[type[ArrayRecommender], dict[str, Any]]] = [
    (ALS, {"factors": 4}),
    (BPR, {"factors": 4, "iterations": 5}),
    (EASE, {}),
    (GraphFilter, {"rank": 2}),
    (ItemKNN, {}),
    (LogisticMF, {"factors": 4, "iterations": 5}),
]
_NAMES = [kind.name for kind, _ in _CHOOSING]


class _Judge:
    """Prefers the third model that it is shown."""

    def __init__(self, given: csr_array) -> None:
        self.given = given
        self.seen: list[dict[str, Any]] = []
        self.scores: list[bytes] = []

    def __call__(self, model: Recommender) -> float:
        self.seen.append(model.config.model_dump())
        self.scores.append(model.score(self.given).tobytes())
        return 1.0 if len(self.seen) == 3 else 0.5


@pytest.mark.parametrize(("kind", "settings"), _CHOOSING, ids=_NAMES)
def test_of_five_candidates_the_one_that_validates_best_is_kept(
    kind: type[ArrayRecommender], settings: dict[str, Any], checkerboard: Checkerboard,
    tmp_path: Path,
) -> None:  # fmt: skip
    judge = _Judge(checkerboard.train.matrix)
    model = make_model(kind.name, settings).fit(checkerboard.train, FitOptions(validate=judge))
    # BPR is learned five times, too: two weights of popularity share what was learned.
    assert len(judge.seen) == (10 if kind is BPR else 5)
    assert all(judge.seen.count(one) == 1 for one in judge.seen)
    assert model.config.model_dump() == judge.seen[2]
    assert None not in judge.seen[2].values()
    assert model.score(checkerboard.train.matrix).tobytes() == judge.scores[2]
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config == model.config
    assert loaded.score(checkerboard.train.matrix).tobytes() == judge.scores[2]


@pytest.mark.parametrize(("kind", "settings"), _CHOOSING, ids=_NAMES)
def test_where_nothing_validates_the_first_candidate_holds(
    kind: type[ArrayRecommender], settings: dict[str, Any], checkerboard: Checkerboard
) -> None:
    model = make_model(kind.name, settings).fit(checkerboard.train, FitOptions())
    assert model.config.model_dump().items() >= kind.candidates[0].items()


def test_what_is_set_is_not_chosen(checkerboard: Checkerboard) -> None:
    judge = _Judge(checkerboard.train.matrix)
    make_model("ease", {"ridge": 7.0}).fit(checkerboard.train, FitOptions(validate=judge))
    assert judge.seen == []
    options = FitOptions(validate=judge)
    make_model("item-knn", {"neighbours": 5}).fit(checkerboard.train, options)
    # The five sets differ in more than the neighbours: all are left.
    kept = ("weighting", "user_damping", "source_share")
    assert [tuple(one[name] for name in kept) for one in judge.seen] == [
        ("cosine", 0.5, 0.6),
        ("cosine", 0.5, 0.65),
        ("cosine", 0.5, 0.5),
        ("cosine", 0.0, 0.5),
        ("tf-idf", 0.0, 0.5),
    ]
    assert {one["neighbours"] for one in judge.seen} == {5}


@pytest.mark.parametrize(
    ("best", "further"),
    [
        (1e9, [1620.0, 4860.0, 14580.0]),  # no further than three steps
        (1620.0, [1620.0, 4860.0]),  # one beyond the best shows that it is
        (0.0, []),  # a smaller one may be too small to be learned
        (180.0, []),
    ],
)
def test_beyond_the_largest_candidate_it_goes_on_while_that_is_better(
    best: float, further: list[float], checkerboard: Checkerboard
) -> None:
    seen = list[float]()

    def judge(model: Recommender) -> float:
        seen.append(model.config.model_dump()["ridge"])
        return -abs(seen[-1] - best)

    model = make_model("sparse-ease", {}).fit(checkerboard.train, FitOptions(validate=judge))
    assert seen == pytest.approx([60.0, 20.0, 180.0, 540.0, *further])
    assert model.config.model_dump()["ridge"] == min(seen, key=lambda ridge: abs(ridge - best))


def test_fitted_again_it_chooses_again(checkerboard: Checkerboard) -> None:
    model = make_model("graph-filter", {"rank": 2})
    model.fit(checkerboard.train, FitOptions())
    judge = _Judge(checkerboard.train.matrix)
    model.fit(checkerboard.train, FitOptions(validate=judge))
    assert len(judge.seen) == 5


def test_where_no_judgement_is_a_number_the_first_candidate_holds(
    checkerboard: Checkerboard,
) -> None:
    options = FitOptions(validate=lambda _: float("nan"))
    model = make_model("ease", {}).fit(checkerboard.train, options)
    assert model.config.model_dump() == EASE.candidates[0]
    assert np.isfinite(model.score(checkerboard.train.matrix)).all()


def test_a_sparse_matrix_comes_together_again_and_a_lost_part_is_noticed() -> None:
    matrix = csr_array(np.array([[0, 2.5], [1, 0]], dtype=np.float32))
    parts = sparse_parts("m", matrix)
    assert np.array_equal(join_parts("m", parts, 2).toarray(), matrix.toarray())
    parts.pop("m.indptr")
    with pytest.raises(KeyError, match="indptr"):
        join_parts("m", parts, 2)

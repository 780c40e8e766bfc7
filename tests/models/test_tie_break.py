"""What nothing else tells apart stands in the order of popularity."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.ranking import Making, Ranker
from tests.models.made_up import made_up

MODELS: dict[str, dict[str, Any]] = {
    "als": {"factors": 8, "regularization": 1.0},
    "ease": {"ridge": 5.0},
    "graph-filter": {"rank": 4, "low_pass": 0.3},
    "item-knn": {"neighbours": 2, "weighting": "cosine", "user_damping": 0.5, "source_share": 0.5},
    "sparse-ease": {"ridge": 5.0, "neighbours": 2},
}
N_ITEMS = 30


@pytest.fixture(scope="module")
def train() -> Interactions:
    # Items 25 to 29 are nobody's, so that nothing is near to them.
    data = made_up(80, N_ITEMS, 0.15, 4)
    return data.where(data.matrix.indices < 25)


@pytest.fixture(scope="module", params=sorted(MODELS))
def fitted(request: pytest.FixtureRequest, train: Interactions) -> Recommender:
    return make_model(request.param, MODELS[request.param]).fit(train, FitOptions(device="cpu"))


def popular(train: Interactions, *, without: tuple[int, ...] = ()) -> list[int]:
    """Items by falling count, of equal ones the lower number first."""
    counts = np.bincount(train.matrix.indices, minlength=N_ITEMS)
    order = np.argsort(-counts, kind="stable")
    return [int(item) for item in order if item not in without]


def test_who_has_no_history_is_given_what_most_took(
    fitted: Recommender, train: Interactions
) -> None:
    made = Ranker(fitted, 10).make(np.array(["u", "v"]), csr_array((2, N_ITEMS), dtype=np.float32))
    assert made.lists.items_BK.tolist() == [popular(train)[:10]] * 2
    shares = np.sort(np.bincount(train.matrix.indices) / 80)[::-1][:10]
    assert made.lists.scores_BK[0] == pytest.approx(1e-6 * shares, rel=1e-6)


def test_who_took_only_what_nobody_else_did_is_given_it_too(
    fitted: Recommender, train: Interactions
) -> None:
    given = csr_array(([np.float32(1)], ([0], [27])), shape=(1, N_ITEMS), dtype=np.float32)
    made = Ranker(fitted, 10).make(np.array(["u"]), given)
    found = made.lists.items_BK[0].tolist()
    if fitted.name == "als":  # a confidence in one entry moves a user a little
        assert 27 not in found
        return
    assert found == popular(train, without=(27,))[:10]


def test_it_outweighs_nothing_and_explains_nothing(
    fitted: Recommender, train: Interactions
) -> None:
    bare = make_model(fitted.name, MODELS[fitted.name])
    arrays = {name: one for name, one in fitted.arrays().items() if name != "popularity_I"}
    bare.restore(fitted.items, arrays)
    single = csr_array(np.eye(N_ITEMS, dtype=np.float32)[:20])
    told = 0
    for given in (train.matrix[:40], single):
        users = np.arange(given.shape[0])
        ours, plain = (
            Ranker(one, 5, Making(explained=2)).make(users, given) for one in (fitted, bare)
        )
        reasons = [
            list[Any]() if one.because is None else one.because.to_pylist() for one in (ours, plain)
        ]
        places = np.argwhere(plain.lists.scores_BK > 1e-4)
        for user, place in places.tolist():
            # Of nearly equal scores either may be first.
            gap = np.abs(np.diff(plain.lists.scores_BK[user])).min()
            if gap > 1e-5:
                told += 1
                assert ours.lists.items_BK[user, place] == plain.lists.items_BK[user, place]
                names = [
                    [one["item"] for one in each[user][place] if one["share"] > 0.1]
                    for each in reasons
                ]
                assert names[0] == names[1]
        for user, place in np.argwhere(plain.lists.scores_BK == 0).tolist():
            assert reasons[0][user][place] == []
    assert told > 20


def test_a_model_saved_without_it_answers_as_it_did(fitted: Recommender, tmp_path: Path) -> None:
    old = make_model(fitted.name, MODELS[fitted.name])
    arrays = {name: one for name, one in fitted.arrays().items() if name != "popularity_I"}
    save_model(old.restore(fitted.items, arrays), tmp_path / "old")
    nothing = csr_array((1, N_ITEMS), dtype=np.float32)
    assert not load_model(tmp_path / "old").score(nothing).any()
    with pytest.raises(ValueError, match="popularity_I with one row an item"):
        old.restore(fitted.items, {**arrays, "popularity_I": np.zeros(3, np.float32)})

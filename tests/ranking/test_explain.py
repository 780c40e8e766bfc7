"""Explanations against the model itself, asked again without one item at a time.

Legend: B users, I items, K places of a list, M items of an explanation.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import TopN, rank, reduced
from recsys_vae.ranking import explain as explain_module
from recsys_vae.ranking.because import because
from recsys_vae.ranking.explain import Explained, explain
from recsys_vae.ranking.reduced import trials_of, without
from tests.conftest import Checkerboard
from tests.contract import rounding
from tests.ranking.made_up import floats, numbers

TRAINING = {"epochs": 15, "batch_size": 15, "learning_rate": 0.01}
NETWORKS: dict[str, dict[str, Any]] = {
    "mult-vae": {"hidden": [16], "latent": 4},
    "mult-dae": {"latent": 4},
    "autoencoder": {"hidden": [8], "latent": 4, "likelihood": "bernoulli"},
    "vamp-vae": {"hidden": [16], "latent": 4, "pseudo_inputs": 5},
    "recvae": {"hidden": 16, "latent": 4},
    "ladder-vae": {"hidden": [16], "latent": 3},
    "latent-diffusion": {"hidden": [16], "latent": 4, "denoiser": 8},
    "vq-vae": {"hidden": [8], "groups": 2, "codes": 4, "width": 2},
}
OTHERS: dict[str, dict[str, Any]] = {"ease": {}, "popularity": {}}
K, M = 4, 3


def fit(name: str, checkerboard: Checkerboard) -> Recommender:
    settings_of = OTHERS.get(name)
    if settings_of is None:
        settings_of = {**NETWORKS[name], "training": TRAINING}
    return make_model(name, settings_of).fit(checkerboard.train, FitOptions(device="cpu"))


@pytest.fixture(scope="module")
def vae(checkerboard: Checkerboard) -> Recommender:
    return fit("mult-vae", checkerboard)


@pytest.fixture(scope="module")
def given() -> csr_array:
    """Weighted histories: mixed, one item, everything but one, nothing, an entry of weight 0."""
    rows = np.zeros((5, 24), dtype=np.float32)
    rows[0, [0, 3, 5, 8, 20]] = [1, 2, 1, 3, 1]
    rows[1, 7] = 1
    rows[2, :23] = 1
    rows[4, [1, 2]] = [2, 1]
    matrix = csr_array(rows)
    matrix.data[-1] = 0
    return matrix


def lists_of(model: Recommender, given: csr_array, k: int = K) -> TopN:
    return rank(model.score(given), given, k)


def asked_again(model: Recommender, given: csr_array, user: int, item: int) -> dict[int, float]:
    """Score the item with the whole history and without each item of it, one at a time."""
    full = model.score(given[[user]])[0, item]
    found = {}
    for place in range(given.indptr[user], given.indptr[user + 1]):
        kept = np.arange(given.indptr[user], given.indptr[user + 1])
        kept = kept[kept != place]
        history = csr_array(
            (given.data[kept], given.indices[kept], [0, len(kept)]), shape=(1, given.shape[1])
        )
        found[int(given.indices[place])] = float(full - model.score(history)[0, item])
    return found


@pytest.mark.parametrize("name", [*NETWORKS, *OTHERS])
def test_contributions_are_what_the_score_loses_without_the_item(
    name: str, checkerboard: Checkerboard, given: csr_array
) -> None:
    model = fit(name, checkerboard)
    lists = lists_of(model, given)
    explained = explain(model, given, lists, top=M, at_once=7)
    assert explained.items_BKM.shape == explained.contributions_BKM.shape == (5, K, M)
    assert explained.left_out_B.tolist() == [0] * 5
    # Two scores, each of float32 sums in another order.
    near = 2 * rounding(model.score(given))
    for user in range(5):
        for place, item in enumerate(lists.items_BK[user].tolist()):
            shown = explained.items_BKM[user, place].tolist()
            worth = explained.contributions_BKM[user, place].tolist()
            if item < 0:
                assert (shown, worth) == ([-1] * M, [0.0] * M)
                continue
            oracle = asked_again(model, given, user, item)
            n = min(M, len(oracle))
            assert shown[n:] == [-1] * (M - n)
            assert worth[n:] == [0.0] * (M - n)
            assert worth[:n] == sorted(worth[:n], reverse=True)
            best = sorted(oracle.values(), reverse=True)[:n]
            assert np.abs(np.array(worth[:n]) - best).max(initial=0) <= near
            for one, value in zip(shown[:n], worth[:n], strict=True):
                assert abs(oracle[one] - value) <= near
            total = sum(max(value, 0.0) for value in oracle.values())
            assert abs(explained.carried_BK[user, place] - total) <= near * max(len(oracle), 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_of_some_items_are_those_among_all(
    name: str, checkerboard: Checkerboard, given: csr_array
) -> None:
    model = fit(name, checkerboard)
    assert isinstance(model, NeuralRecommender)
    items = np.random.default_rng(0).integers(24, size=(5, 6))
    scores = model.score(given)
    some = model.score_items(given, items)
    assert some.dtype == np.float32
    assert np.abs(some - np.take_along_axis(scores, items, 1)).max() <= rounding(scores)


def test_the_colour_of_an_item_explains_it(vae: Recommender, checkerboard: Checkerboard) -> None:
    # A history of both colours: what carries an item is of its own.
    history = np.zeros((1, 24), dtype=np.float32)
    history[0, [0, 2, 4, 6, 1, 3, 5]] = 1
    given = csr_array(history)
    lists = lists_of(vae, given, 3)
    explained = explain(vae, given, lists, top=2)
    colours = checkerboard.colour_I
    assert (colours[explained.items_BKM[0]] == colours[lists.items_BK[0]][:, None]).all()
    assert (explained.contributions_BKM > 0).all()


@pytest.mark.parametrize("name", ["mult-vae", "ease"])
@pytest.mark.parametrize("at_once", [1, 3, 10**6])
def test_how_much_is_done_at_once_changes_nothing_but_rounding(
    name: str,
    at_once: int,
    checkerboard: Checkerboard,
    given: csr_array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = fit(name, checkerboard)
    lists = lists_of(model, given)
    whole = explain(model, given, lists, top=2)
    for module, limit in (
        (explain_module, "_CONTRIBUTIONS_AT_ONCE"),
        (explain_module, "_SCORES_AT_ONCE"),
        (reduced, "_ENTRIES_AT_ONCE"),
    ):
        monkeypatch.setattr(module, limit, at_once)
    cut = explain(model, given, lists, top=2, at_once=at_once)
    near = 2 * rounding(model.score(given))
    assert np.abs(cut.contributions_BKM - whole.contributions_BKM).max() <= near
    alone = explain(model, given[[0]], TopN(lists.items_BK[[0]], lists.scores_BK[[0]]), top=2)
    assert np.abs(alone.contributions_BKM - whole.contributions_BKM[[0]]).max() <= near


def test_no_more_histories_are_scored_at_once_than_allowed(
    vae: Recommender, given: csr_array, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    assert isinstance(vae, NeuralRecommender)
    score_items = vae.score_items

    def watched(some: csr_array, items_BK: npt.NDArray[Any]) -> Any:
        sizes.append(some.shape[0])
        return score_items(some, items_BK)

    monkeypatch.setattr(vae, "score_items", watched)
    lists = lists_of(vae, given)
    explain(vae, given, lists, at_once=4)
    # Five whole histories, and 5 + 1 + 23 + 0 + 2 that lack an item.
    assert max(sizes) == 4
    assert sum(sizes) == 5 + 31


def test_a_long_history_is_cut_to_its_largest_weights_and_that_is_reported(
    vae: Recommender, given: csr_array
) -> None:
    lists = lists_of(vae, given)
    cut = explain(vae, given, lists, top=5, most_history=3)
    assert cut.left_out_B.tolist() == [2, 0, 20, 0, 0]
    # Weights 1, 2, 1, 3, 1: items 3 and 8, and the first of the others.
    assert set(cut.items_BKM[0].ravel().tolist()) == {0, 3, 8, -1}
    assert set(cut.items_BKM[2, 0].tolist()) == {0, 1, 2, -1}
    whole = explain(vae, given, lists, top=24)
    item = int(cut.items_BKM[0, 0, 0])
    place = whole.items_BKM[0, 0].tolist().index(item)
    near = 2 * rounding(vae.score(given))
    assert abs(cut.contributions_BKM[0, 0, 0] - whole.contributions_BKM[0, 0, place]) <= near


@drawn(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=25)
def test_histories_lack_one_item_each(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 4, size=(5, 8)) * (rng.random((5, 8)) < 0.5)
    given = csr_array(rows.astype(np.float32))
    trials = trials_of(given, most)
    reduced_TI = without(given, trials.users_T, trials.places_T).toarray()
    expected, left_out = [], []
    for row in rows:
        items = np.flatnonzero(row)
        tried = sorted(sorted(items, key=lambda item: (-row[item], item))[:most])
        left_out.append(len(items) - len(tried))
        for item in tried:
            lacking = row.copy()
            lacking[item] = 0
            expected.append(lacking.tolist())
    assert reduced_TI.tolist() == expected
    assert trials.left_out_B.tolist() == left_out


@pytest.mark.parametrize("change", [0.01, -0.01, np.nan])
def test_lists_that_the_model_does_not_give_are_refused(
    vae: Recommender, given: csr_array, change: float
) -> None:
    lists = lists_of(vae, given)
    lists.scores_BK[1, 2] += change * np.abs(lists.scores_BK[1]).max()
    with pytest.raises(InputError, match="user 1 of the block"):
        explain(vae, given, lists)


def test_lists_of_other_histories_are_refused(vae: Recommender, given: csr_array) -> None:
    lists = lists_of(vae, given)
    with pytest.raises(InputError, match="user 0 of the block"):
        explain(vae, given[[1, 0, 2, 3, 4]], lists)


@pytest.mark.parametrize("option", ["top", "most_history", "at_once"])
def test_options_below_1_are_refused_by_name(
    vae: Recommender, given: csr_array, option: str
) -> None:
    lists = lists_of(vae, given)
    with pytest.raises(InputError, match=f"{option} = 0 .* choose 1 or more"):
        explain(vae, given, lists, **{option: 0})
    with pytest.raises(ValueError, match="2 histories do not fit 5 lists"):
        explain(vae, given[:2], lists)


def test_no_users_have_no_explanations(vae: Recommender) -> None:
    lists = TopN(np.zeros((0, 4), dtype=np.int32), np.zeros((0, 4), dtype=np.float32))
    explained = explain(vae, csr_array((0, 24), dtype=np.float32), lists, top=2)
    assert explained.items_BKM.shape == (0, 4, 2)
    column = because(lists, explained, vae.items)
    assert len(column) == 0
    pair = pa.struct([("item", pa.int64()), ("share", pa.float32())])
    assert column.type == pa.list_(pa.list_(pair))


def test_the_column_follows_the_lists(vae: Recommender, given: csr_array) -> None:
    lists = lists_of(vae, given)
    explained = explain(vae, given, lists, top=2)
    column = because(lists, explained, vae.items)
    rows = column.to_pylist()
    assert [len(row) for row in rows] == lists.lengths.tolist() == [4, 4, 1, 4, 4]
    assert rows[3] == [[]] * 4  # nothing to explain by
    assert len(column.flatten()) == lists.lengths.sum()  # the rows of the long form
    for user, row in enumerate(rows):
        for place, pairs in enumerate(row):
            kept = explained.contributions_BKM[user, place] > 0
            items = vae.items.ids(explained.items_BKM[user, place][kept])
            assert [pair["item"] for pair in pairs] == items.tolist()
            shares = explained.contributions_BKM[user, place][kept]
            shares = shares / explained.carried_BK[user, place]
            # One division of float32.
            assert [pair["share"] for pair in pairs] == pytest.approx(shares.tolist(), rel=1e-6)
            assert sum(pair["share"] for pair in pairs) <= 1 + 1e-6


def test_what_speaks_against_an_item_is_not_listed() -> None:
    lists = TopN(numbers([[0, 2]]), floats([[2, 1]]))
    explained = Explained(
        numbers([[[1, 3], [3, -1]]]),
        floats([[[1, -2], [-1, 0]]]),
        floats([[2, 0]]),
        np.array([0]),
    )
    column = because(lists, explained, IdMap.of(["a", "b", "c", "d"]))
    assert column.to_pylist() == [[[{"item": "b", "share": 0.5}], []]]

"""Re-ranking against plain Python, one user and one candidate at a time.

Legend: B users, I items, P places of a pool, K places of a list, D width of vectors.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.ranking import TopN, greedy
from recsys_vae.ranking.calibrate import Calibration, ItemShares, calibrate, history_mix
from recsys_vae.ranking.dpp import DPP, dpp
from recsys_vae.ranking.greedy import head, standardised
from recsys_vae.ranking.item_vectors import ItemVectors
from recsys_vae.ranking.mmr import MMR, mmr
from recsys_vae.ranking.rerank import Reranking, rerank
from tests.ranking.made_up import (
    N_ITEMS,
    NEUTRAL,
    SOME,
    WIDTH,
    changed,
    floats,
    made_up_given,
    made_up_pool,
    made_up_rows,
    made_up_shares,
    numbers,
)

Score = Callable[[list[int]], float]


def greedily(items: list[int], k: int, value: Score) -> list[int]:
    """Extend a list by the item that makes the whole most valuable; of equal ones the first."""
    chosen: list[int] = []
    while len(chosen) < min(k, len(items)):
        left = [item for item in items if item not in chosen]
        values = [value([*chosen, item]) for item in left]
        chosen.append(left[int(np.argmax(values))])
    return chosen


def expected(pool: TopN, k: int, value_of: Callable[[int, dict[int, float]], Score]) -> Any:
    """Apply an oracle to each user: it is told the row and the relevance of each item."""
    lists = []
    for row, relevance in enumerate(standardised(pool)):
        items = [int(item) for item in pool.items_BK[row] if item >= 0]
        worth = dict(zip(items, relevance.tolist(), strict=False))
        chosen = greedily(items, k, value_of(row, worth))
        lists.append(chosen + [-1] * (k - len(chosen)))
    return lists


def cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    return float(one @ other / math.sqrt(one @ one) / math.sqrt(other @ other))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 0.9]), st.integers(1, 9))
@settings(max_examples=30)
def test_mmr_takes_what_is_relevant_and_unlike_the_nearest(seed: int, t: float, k: int) -> None:
    pool, rows = made_up_pool(seed), made_up_rows(seed).astype(np.float64)

    def value_of(_row: int, worth: dict[int, float]) -> Score:
        def value(items: list[int]) -> float:
            *before, last = items
            nearest = max((cosine(rows[last], rows[one]) for one in before), default=0.0)
            return round(t * worth[last] - (1 - t) * nearest, 9)

        return value

    lists = mmr(pool, k, ItemVectors.of(rows), MMR(t))
    assert lists.items_BK.tolist() == expected(pool, k, value_of)


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5, 2.0]), st.integers(1, 9))
@settings(max_examples=30)
def test_dpp_takes_what_raises_the_log_determinant_most(seed: int, theta: float, k: int) -> None:
    pool, rows = made_up_pool(seed), made_up_rows(seed).astype(np.float64)

    def value_of(_row: int, worth: dict[int, float]) -> Score:
        def value(items: list[int]) -> float:
            quality = np.diag(np.exp([theta * worth[item] for item in items]))
            alike = np.array([[cosine(rows[i], rows[j]) for j in items] for i in items])
            # Rounded: one item alone has the volume 1, whichever it is.
            log_volume = float(np.linalg.slogdet(quality @ alike @ quality).logabsdet)
            return round(log_volume, 9)

        return value

    lists = dpp(pool, k, ItemVectors.of(rows), DPP(theta))
    assert lists.items_BK.tolist() == expected(pool, k, value_of)


@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.9, 1.0]), st.integers(1, 9))
@settings(max_examples=30)
def test_calibration_takes_what_brings_the_mix_nearest(seed: int, strength: float, k: int) -> None:
    pool, history, shares = made_up_pool(seed), made_up_given(seed), made_up_shares(seed)
    p_IG, weights_BI = shares.shares_IG.toarray(), history.toarray().astype(np.float64)
    alpha = 0.01

    def value_of(row: int, worth: dict[int, float]) -> Score:
        total = weights_BI[row].sum()
        p = weights_BI[row] @ p_IG / total if total else np.zeros(p_IG.shape[1])

        def value(items: list[int]) -> float:
            q = (1 - alpha) * p_IG[items].mean(axis=0) + alpha * p
            pairs = zip(p.tolist(), q.tolist(), strict=True)
            divergence = math.fsum(a * math.log(a / b) for a, b in pairs if a > 0)
            relevance = math.fsum(worth[item] for item in items)
            # Rounded: sums in another order must not part what is equal.
            return round((1 - strength) * relevance - strength * divergence, 9)

        return value

    lists = calibrate(pool, k, shares, history, Calibration(strength))
    assert lists.items_BK.tolist() == expected(pool, k, value_of)


@pytest.mark.parametrize("how", NEUTRAL)
@given(st.integers(0, 10**6), st.integers(1, 9), st.booleans())
@settings(max_examples=20)
def test_with_the_neutral_number_the_first_k_stay(
    how: Reranking, seed: int, k: int, tied: bool
) -> None:
    pool = made_up_pool(seed, tied=tied)
    lists = changed(pool, k, how, seed)
    assert lists.items_BK.tolist() == pool.items_BK[:, :k].tolist()
    assert lists.scores_BK.tolist() == pool.scores_BK[:, :k].tolist()


@pytest.mark.parametrize("how", SOME)
@given(st.integers(0, 10**6), st.integers(1, 9), st.booleans())
@settings(max_examples=10)
def test_a_list_holds_items_of_the_pool_once_each_with_their_scores(
    how: Reranking, seed: int, k: int, tied: bool
) -> None:
    pool = made_up_pool(seed, tied=tied)
    lists = changed(pool, k, how, seed)
    assert lists.items_BK.shape == lists.scores_BK.shape == (4, k)
    assert lists.items_BK.dtype == np.int32
    assert lists.scores_BK.dtype == np.float32
    assert lists.lengths.tolist() == np.minimum(pool.lengths, k).tolist()
    for row in range(4):
        known = dict(zip(pool.items_BK[row].tolist(), pool.scores_BK[row].tolist(), strict=True))
        shown = [item for item in lists.items_BK[row].tolist() if item >= 0]
        assert len(set(shown)) == len(shown)
        assert lists.scores_BK[row].tolist() == [known[i] for i in shown] + [-np.inf] * (
            k - len(shown)
        )


@pytest.mark.parametrize("how", SOME)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("numbers_at_once", [1, 3 * 9 * 40])
def test_a_list_depends_neither_on_the_block_nor_on_the_other_users(
    how: Reranking, tied: bool, numbers_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = made_up_pool(1, n_users=11, tied=tied)
    whole = changed(pool, 6, how, 1)
    monkeypatch.setattr(greedy, "_NUMBERS_AT_ONCE", numbers_at_once)
    cut = changed(pool, 6, how, 1)
    assert cut.items_BK.tolist() == whole.items_BK.tolist()
    history, vectors = made_up_given(1, 11), ItemVectors.of(made_up_rows(1))
    for row in range(11):
        part = TopN(pool.items_BK[[row]], pool.scores_BK[[row]])
        alone = rerank(
            part, 6, how, given=history[[row]], vectors=vectors, shares=made_up_shares(1)
        )
        assert alone.items_BK.tolist() == whole.items_BK[[row]].tolist()


@pytest.mark.parametrize("how", [*NEUTRAL, *SOME])
def test_no_users_get_no_lists(how: Reranking) -> None:
    pool = TopN(np.zeros((0, 9), dtype=np.int32), np.zeros((0, 9), dtype=np.float32))
    lists = rerank(
        pool,
        3,
        how,
        given=csr_array((0, N_ITEMS), dtype=np.float32),
        vectors=ItemVectors.of(made_up_rows(0)),
        shares=made_up_shares(0),
    )
    assert lists.items_BK.shape == (0, 3)


@pytest.mark.parametrize("how", SOME[:6])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_sparse_vectors_give_the_lists_of_dense_ones(how: Reranking, seed: int) -> None:
    rows = made_up_rows(seed) * (np.random.default_rng(seed).random((N_ITEMS, WIDTH)) < 0.6)
    rows[3] = 0
    pool, history = made_up_pool(seed), made_up_given(seed)
    dense, thin = ItemVectors.of(rows), ItemVectors.of(csr_array(rows))
    items = np.maximum(pool.items_BK, 0)
    # Vectors of float32, products of float64.
    assert np.abs(dense.cosines(items) - thin.cosines(items)).max() < 1e-6
    lists = [rerank(pool, 5, how, given=history, vectors=one) for one in (dense, thin)]
    assert lists[0].items_BK.tolist() == lists[1].items_BK.tolist()


def test_mmr_in_visible_arithmetic() -> None:
    # Three scores 3, 2, 1 are 1.22, 0, -1.22 standardised; item 1 is item 0 again.
    pool = TopN(numbers([[0, 1, 2]]), floats([[3, 2, 1]]))
    vectors = ItemVectors.of(floats([[2, 0], [1, 0], [0, 1]]))
    # Second place: t 0 - (1 - t) 1 against t (-1.22) - (1 - t) 0; equal at t = 1 / 2.22 = 0.449.
    assert mmr(pool, 2, vectors, MMR(0.46)).items_BK.tolist() == [[0, 1]]
    assert mmr(pool, 2, vectors, MMR(0.44)).items_BK.tolist() == [[0, 2]]
    assert mmr(pool, 2, vectors, MMR(0.44)).scores_BK.tolist() == [[3, 1]]


def test_dpp_in_visible_arithmetic() -> None:
    # Items 0 and 1 have the cosine 0.6: what is left of item 1 is 1 - 0.36 = 0.64.
    pool = TopN(numbers([[0, 1, 2]]), floats([[3, 2, 1]]))
    vectors = ItemVectors.of(np.array([[1, 0], [0.6, 0.8], [0, 1]]))
    # Second place: log 0.64 against 2 theta (-1.22); equal at theta = 0.446 / 2.449 = 0.182.
    assert dpp(pool, 2, vectors, DPP(0.19)).items_BK.tolist() == [[0, 1]]
    assert dpp(pool, 2, vectors, DPP(0.17)).items_BK.tolist() == [[0, 2]]


def test_items_that_add_no_volume_come_last_in_the_order_of_the_pool() -> None:
    rows = floats([[1, 0], [3, 0], [2, 0], [0, 1], [0, 5], [1, 1]])
    pool = TopN(numbers([[0, 1, 2, 3, 4, 5]]), floats([[6, 5, 4, 3, 2, 1]]))
    assert dpp(pool, 6, ItemVectors.of(rows), DPP(0.1)).items_BK.tolist() == [[0, 3, 1, 2, 4, 5]]


def test_calibration_in_visible_arithmetic() -> None:
    # Three of four of the history's films are of kind 0; the pool's best are all of kind 1.
    kinds = np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]]
    history = csr_array(floats([[1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]]))
    shares = ItemShares.of(csr_array(kinds))
    assert history_mix(history, shares).tolist() == [[0.75, 0.25]]
    pool = TopN(numbers([[4, 5, 6, 7, 8, 9, 10]]), floats([[7, 6, 5, 4, 3, 2, 1]]))
    (shown,) = calibrate(pool, 4, shares, history, Calibration(0.99)).items_BK.tolist()
    assert sorted(shown) == [4, 8, 9, 10]


def test_without_history_calibration_changes_nothing() -> None:
    pool, shares = made_up_pool(3), made_up_shares(3)
    nothing = csr_array((4, N_ITEMS), dtype=np.float32)
    zeros = made_up_given(3)
    zeros.data[:] = 0
    for history in (nothing, zeros):
        lists = calibrate(pool, 5, shares, history, Calibration(1.0))
        assert lists.items_BK.tolist() == head(pool, 5).items_BK.tolist()


def test_an_item_without_attributes_has_one_of_its_own() -> None:
    shares = ItemShares.of(csr_array(floats([[2, 6], [0, 0]])))
    assert shares.shares_IG.toarray().tolist() == [[0.25, 0.75, 0], [0, 0, 1]]
    single = ItemShares.of(csr_array(np.linspace(0.1, 7, 50)[:, None]))
    assert single.shares_IG.toarray().tolist() == [[1.0]] * 50
    whole = csr_array(floats([[0.5, 0.5], [1, 0]]))
    assert ItemShares.of(whole).shares_IG.toarray().tolist() == whole.toarray().tolist()

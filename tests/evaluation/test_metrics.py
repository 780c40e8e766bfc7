import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.evaluation import metrics
from recsys_vae.evaluation.measures import ACCURACY
from recsys_vae.evaluation.metrics import hits
from recsys_vae.ranking import TopN


def lists_of(*items: list[int]) -> TopN:
    items_BK = np.array(items, dtype=np.int32)
    return TopN(items_BK, np.zeros(items_BK.shape, dtype=np.float32))


def held_out_of(n_items: int, *users: set[int]) -> csr_array:
    dense = np.zeros((len(users), n_items), dtype=np.float32)
    for user, items in enumerate(users):
        dense[user, list(items)] = 1
    return csr_array(dense)


def recall(hits_BK: Any, held_out: csr_array, k: int) -> Any:
    return metrics.recall(hits_BK, np.diff(held_out.indptr), [k])[:, 0]


def ndcg(hits_BK: Any, held_out: csr_array, k: int) -> Any:
    return metrics.ndcg(hits_BK, np.diff(held_out.indptr), [k])[:, 0]


def discount(place: int) -> float:
    return 1 / math.log2(place + 1)  # the first place is 1


@pytest.mark.parametrize(
    ("shown", "wanted", "k", "expected_recall", "expected_ndcg"),
    [
        # a hit at the second of three places, one held-out item
        ([4, 2, 0], {2}, 3, 1 / min(3, 1), discount(2) / discount(1)),
        # one hit of two held-out items
        ([4, 2, 0], {2, 3}, 3, 1 / min(3, 2), discount(2) / (discount(1) + discount(2))),
        # more held-out items than places: 1 is within reach
        ([0, 1], {0, 1, 2, 3}, 2, 2 / min(2, 4), 1.0),
        ([0, 4], {0, 1, 2, 3}, 2, 1 / min(2, 4), discount(1) / (discount(1) + discount(2))),
        # the hit lies beyond k
        ([4, 2, 0], {0}, 2, 0.0, 0.0),
        # all found, in any order
        ([3, 1, 2], {1, 2, 3}, 3, 1.0, 1.0),
        # a padded place is no hit, not even of the last item
        ([0, -1, -1], {4}, 3, 0.0, 0.0),
    ],
)
def test_metrics_are_those_of_the_paper(
    shown: list[int], wanted: set[int], k: int, expected_recall: float, expected_ndcg: float
) -> None:
    held_out = held_out_of(5, wanted)
    hits_BK = hits(lists_of(shown), held_out)
    # The same few operations in double precision: only the last bit may differ.
    assert recall(hits_BK, held_out, k)[0] == pytest.approx(expected_recall, abs=1e-15)
    assert ndcg(hits_BK, held_out, k)[0] == pytest.approx(expected_ndcg, abs=1e-15)


def test_a_user_without_held_out_items_is_not_judged() -> None:
    held_out = held_out_of(3, set(), {1}, set())
    hits_BK = hits(lists_of([0, 1], [0, 1], [0, 1]), held_out)
    assert np.isnan(recall(hits_BK, held_out, 2)).tolist() == [True, False, True]
    assert np.isnan(ndcg(hits_BK, held_out, 2)).tolist() == [True, False, True]


def test_nobody_with_held_out_items_means_nobody_is_judged() -> None:
    held_out = held_out_of(3, set(), set())
    hits_BK = hits(lists_of([0, 1], [0, 1]), held_out)
    assert not hits_BK.any()
    assert np.isnan(recall(hits_BK, held_out, 1)).all()


def test_padding_is_no_hit_of_the_user_before() -> None:
    # Numbered in one line, user 1's padding stands where user 0's last item does.
    held_out = held_out_of(3, {2}, {0})
    assert hits(lists_of([0], [-1]), held_out).tolist() == [[False], [False]]


@given(st.integers(1, 12), st.integers(1, 6), st.data())
@settings(deadline=None)
def test_hits_are_the_shown_items_among_the_held_out(n_items: int, users: int, data: Any) -> None:
    k = data.draw(st.integers(1, n_items))
    wanted = [data.draw(st.sets(st.integers(0, n_items - 1))) for _ in range(users)]
    shown = []
    for _ in range(users):
        order = data.draw(st.permutations(range(n_items)))
        length = data.draw(st.integers(0, k))
        shown.append(list(order[:length]) + [-1] * (k - length))
    found = hits(lists_of(*shown), held_out_of(n_items, *wanted))
    expected = [[i in held for i in row] for row, held in zip(shown, wanted, strict=True)]
    assert found.tolist() == expected


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 5), st.data())
@settings(deadline=None)
def test_metrics_lie_within_0_and_1_and_a_better_list_never_scores_less(
    places: list[bool], missed: int, data: Any
) -> None:
    n_held = sum(places) + missed
    held_out = held_out_of(20, set(range(n_held)))
    k = data.draw(st.integers(1, len(places)))
    better = sorted(places, reverse=True)
    for metric in (recall, ndcg):
        value = metric(np.array([places]), held_out, k)[0]
        best = metric(np.array([better]), held_out, k)[0]
        if n_held == 0:
            assert np.isnan(value)
            continue
        # A sum of nine discounts may exceed its equal by rounding: a few units of 1e-16.
        assert -1e-15 <= value <= best + 1e-15 <= 1 + 2e-15


@pytest.mark.parametrize("k", [0, 3])
def test_a_k_beyond_the_lists_is_a_mistake_of_the_caller(k: int) -> None:
    held_out = held_out_of(3, {0})
    for metric in ACCURACY.values():
        with pytest.raises(ValueError, match="does not fit lists of length 2"):
            metric(np.array([[True, False]]), np.diff(held_out.indptr), [k])


HITS = np.array([[False, True, True, False]])
"""One user: hits at the second and third of four places."""


@pytest.mark.parametrize(
    ("name", "held", "expected"),
    [
        # at 1, 3 and 4, with three held-out items
        ("recall", 3, [0 / min(1, 3), 2 / min(3, 3), 2 / min(4, 3)]),
        ("recall_all", 3, [0 / 3, 2 / 3, 2 / 3]),
        ("recall_all", 8, [0 / 8, 2 / 8, 2 / 8]),
        ("precision", 3, [0 / 1, 2 / 3, 2 / 4]),
        ("hit_rate", 3, [0, 1, 1]),
        ("mrr", 3, [0, 1 / 2, 1 / 2]),
        ("map", 3, [0, (1 / 2 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3]),
        # two of many held-out items within four places
        ("map", 8, [0, (1 / 2 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 4]),
    ],
)
def test_every_metric_at_every_length_in_one_pass(
    name: str, held: int, expected: list[float]
) -> None:
    found = ACCURACY[name](HITS, np.array([held]), [1, 3, 4])
    # The same few operations in double precision.
    np.testing.assert_allclose(found, [expected], rtol=1e-15)


@pytest.mark.parametrize("name", ACCURACY)
def test_no_held_out_item_is_no_judgement(name: str) -> None:
    found = ACCURACY[name](np.vstack([HITS, ~HITS & False]), np.array([2, 0]), [2, 4])
    assert np.isnan(found).tolist() == [[False, False], [True, True]]

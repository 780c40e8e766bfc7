from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_vae.ranking.candidates import candidates_of
from recsys_vae.ranking.list_rules import Cap, ListRules, Quota
from recsys_vae.ranking.pins import UserPins
from recsys_vae.ranking.selection import Selected, select
from tests.ranking.by_hand import ByHand, Made, list_by_hand

Scores = npt.NDArray[np.float32]
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)
ELEMENTS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -np.inf]),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@st.composite
def cases(draw: Any, *, pins: bool = True) -> tuple[Scores, int, list[ByHand]]:
    """Draw scores, a list length, and each user's rules: all have the same caps and quotas."""
    scores = draw(hnp.arrays(np.float32, SHAPES, elements=ELEMENTS))
    n_users, n_items = scores.shape
    k = draw(st.integers(1, n_items))
    groups = st.sets(st.integers(0, n_items - 1), max_size=n_items)
    caps = draw(st.lists(st.tuples(groups, st.integers(1, 3)), max_size=3))
    quotas = draw(st.lists(st.tuples(groups, st.integers(1, min(k, 4))), max_size=3))
    rules = []
    for _ in range(n_users):
        places = draw(st.sets(st.integers(0, k - 1), max_size=3 if pins else 0))
        items = draw(st.permutations(range(n_items)))
        rules.append(ByHand(caps, quotas, dict(zip(sorted(places), items, strict=False))))
    return scores, k, rules


def list_rules(n_items: int, rules: ByHand) -> ListRules:
    caps = [Cap(np.array(sorted(group), dtype=np.int64), count) for group, count in rules.caps]
    quotas = [
        Quota(f"q{n}", np.isin(np.arange(n_items), sorted(group)), count)
        for n, (group, count) in enumerate(rules.quotas)
    ]
    return ListRules.of(n_items, caps, quotas)


def user_pins(rules: list[ByHand]) -> UserPins:
    rows = [(row, item, place) for row, one in enumerate(rules) for place, item in one.pins.items()]
    users, items, places = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return UserPins(users, items, places, np.zeros(len(rows), dtype=bool))


def selected(scores: Scores, k: int, rules: list[ByHand], size: int) -> Selected:
    compiled = list_rules(scores.shape[1], rules[0])
    return select(candidates_of(scores, size, compiled, user_pins(rules)), compiled, k)


def shown(made: Selected, row: int) -> Made:
    """Give a selected list in the form of the one made by hand; of quotas, whether they lack."""
    items = [int(i) for i in made.lists.items_BK[row] if i >= 0]
    bits = int(made.relaxed_B[row])
    n_quotas = len(made.names) - 1
    return Made(items, [bits >> n & 1 for n in range(n_quotas)], not bits >> n_quotas & 1)


def expected(scores: Scores, k: int, rules: list[ByHand]) -> list[Made]:
    made = [list_by_hand(row.tolist(), k, one) for row, one in zip(scores, rules, strict=True)]
    return [Made(one.items, [int(n > 0) for n in one.lacking], one.pinned) for one in made]


@given(cases())
@settings(max_examples=200)
def test_lists_from_the_whole_catalogue_are_those_made_by_hand(case: Any) -> None:
    scores, k, rules = case
    made = selected(scores, k, rules, scores.shape[1])
    assert not made.exhausted_B.any()
    assert [shown(made, row) for row in range(len(scores))] == expected(scores, k, rules)


@given(cases(), st.data())
@settings(max_examples=200)
def test_a_list_that_is_not_exhausted_is_that_of_the_whole_catalogue(case: Any, data: Any) -> None:
    scores, k, rules = case
    made = selected(scores, k, rules, data.draw(st.integers(k, scores.shape[1])))
    for row, wanted in enumerate(expected(scores, k, rules)):
        assert made.exhausted_B[row] or shown(made, row) == wanted


@given(cases(), st.data())
@settings(max_examples=150)
def test_caps_masks_and_the_order_hold_in_every_list(case: Any, data: Any) -> None:
    scores, k, rules = case
    made = selected(scores, k, rules, data.draw(st.integers(1, scores.shape[1])))
    for row, one in enumerate(rules):
        items = shown(made, row).items
        own = scores[row, items]
        assert len(set(items)) == len(items)
        assert (own > -np.inf).all()
        assert one.within_caps(items)
        free = [(-float(scores[row, i]), i) for i in items if i not in one.pins.values()]
        assert free == sorted(free)
        length = made.lists.lengths[row]
        assert made.lists.items_BK[row].tolist() == items + [-1] * (k - length)
        assert made.lists.scores_BK[row].tolist() == own.tolist() + [-np.inf] * (k - length)


@given(cases(), st.data())
@settings(max_examples=100)
def test_what_is_lacking_is_reported(case: Any, data: Any) -> None:
    scores, k, rules = case
    made = selected(scores, k, rules, data.draw(st.integers(1, scores.shape[1])))
    for row, one in enumerate(rules):
        told = shown(made, row)
        assert told.lacking == [int(n > 0) for n in one.lacking(told.items)]
        stand = [told.items[p : p + 1] == [item] for p, item in one.pins.items()]
        assert told.pinned == all(stand)
    assert made.relaxed()[made.names[-1]] == sum(
        not shown(made, row).pinned for row in range(len(rules))
    )


@given(cases(), st.data())
@settings(max_examples=60)
def test_a_list_does_not_depend_on_the_block(case: Any, data: Any) -> None:
    scores, k, rules = case
    size = data.draw(st.integers(1, scores.shape[1]))
    whole = selected(scores, k, rules, size)
    for row in range(len(scores)):
        alone = selected(scores[[row]], k, [rules[row]], size)
        assert shown(alone, 0) == shown(whole, row)
        assert alone.exhausted_B[0] == whole.exhausted_B[row]


@given(hnp.arrays(np.float32, SHAPES, elements=ELEMENTS), st.data())
@settings(max_examples=150)
def test_one_quota_under_caps_that_do_not_overlap_is_met_wherever_it_can_be(
    scores: Scores, data: Any
) -> None:
    n_items = scores.shape[1]
    k = data.draw(st.integers(1, n_items))
    colour = data.draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))
    caps = [({i for i in range(n_items) if colour[i] == c}, c) for c in (1, 2)]
    quota = data.draw(st.sets(st.integers(0, n_items - 1)))
    count = data.draw(st.integers(1, k))
    made = selected(scores, k, [ByHand(caps, [(quota, count)])] * len(scores), n_items)
    for row in range(len(scores)):
        own = [i for i in quota if scores[row, i] > -np.inf]
        capped = sum(min(sum(colour[i] == c for i in own), c) for c in (1, 2))
        possible = capped + sum(colour[i] not in (1, 2) for i in own)
        assert bool(shown(made, row).lacking[0]) == (possible < count)


def one_user(scores: list[float], k: int, rules: ByHand, size: int | None = None) -> Selected:
    row = np.array([scores], dtype=np.float32)
    return selected(row, k, [rules], len(scores) if size is None else size)


@pytest.mark.parametrize(
    ("rules", "items"),
    [
        (ByHand(), [0, 1, 2, 3]),
        (ByHand(caps=[({0, 1, 2}, 1)]), [0, 3, 4, 5]),
        (ByHand(caps=[({0, 1, 2}, 1), ({3, 4}, 1)]), [0, 3, 5]),
        # The last places go to the best that are lacking.
        (ByHand(quotas=[({4, 5}, 2)]), [0, 1, 4, 5]),
        (ByHand(quotas=[({0, 5}, 2)]), [0, 1, 2, 5]),
        # Item 4 serves two quotas, and so leaves a place to item 2.
        (ByHand(quotas=[({4}, 1), ({4, 5}, 1)]), [0, 1, 2, 4]),
        # By the scores, item 0 fills the cap that the quota needs room under.
        (ByHand(caps=[({0, 5}, 1)], quotas=[({5}, 1)]), [1, 2, 3, 5]),
        # But not where another serves the quota: item 1 stays out, item 5 comes.
        (ByHand(caps=[({0, 1}, 1)], quotas=[({1, 5}, 1)]), [0, 2, 3, 5]),
        # What cannot be had is given up for the best of the others.
        (ByHand(quotas=[({4}, 2)]), [0, 1, 2, 4]),
        (ByHand(pins={0: 5, 2: 1}), [5, 0, 1, 2]),
        # A pin counts for caps and quotas.
        (ByHand(caps=[({0, 5}, 1)], pins={0: 5}), [5, 1, 2, 3]),
        (ByHand(quotas=[({5}, 1)], pins={1: 5}), [0, 5, 1, 2]),
        # The second pin is beyond the cap: it stands nowhere.
        (ByHand(caps=[({4, 5}, 1)], pins={0: 5, 1: 4}), [5, 0, 1, 2]),
        # In a list too short to reach its place a pin stands at the end.
        (ByHand(caps=[({0, 1, 2, 3, 4}, 1)], pins={3: 5}), [0, 5]),
    ],
)
def test_lists_under_rules(rules: ByHand, items: list[int]) -> None:
    assert shown(one_user([6, 5, 4, 3, 2, 1], 4, rules), 0).items == items


def test_a_rare_quota_needs_no_larger_pool() -> None:
    made = one_user([9, 8, 7, 6, 5, 4, 3, 2], 3, ByHand(quotas=[({6, 7}, 1)]), size=3)
    assert shown(made, 0).items == [0, 1, 6]
    assert not made.exhausted_B[0]


def test_a_pool_that_is_too_small_is_told_of() -> None:
    made = one_user([9, 8, 7, 6, 5, 4, 3, 2], 3, ByHand(caps=[({0, 1, 2, 3}, 1)]), size=3)
    assert shown(made, 0).items == [0]
    assert made.exhausted_B[0]


def test_an_item_that_is_among_the_best_does_not_come_again_for_a_quota() -> None:
    made = one_user([9, 8, 7, 6, 5, 4], 3, ByHand(quotas=[({2, 5}, 2)]), size=3)
    assert shown(made, 0).items == [0, 2, 5]
    tied = one_user([1] * 6, 3, ByHand(quotas=[({2, 5}, 3)]), size=3)
    assert shown(tied, 0).items == [0, 2, 5]


def test_of_two_lists_that_lack_as_much_the_one_by_the_scores_counts() -> None:
    rules = ByHand(caps=[({0, 5}, 1), ({5, 6}, 1)], quotas=[({5, 6}, 2)])
    assert shown(one_user([7, 6, 5, 4, 3, 2, 1], 4, rules), 0).items == [0, 1, 2, 6]


def test_a_pool_may_be_too_small_only_where_quotas_come_first() -> None:
    # By the scores 0, 1 and 2 are the list, without item 5, which shares a cap with each of them.
    rules = ByHand(caps=[({n, 5}, 1) for n in range(3)], quotas=[({5}, 1)])
    made = one_user([9, 8, 7, 6, 5, 4, 3], 3, rules, size=4)
    assert made.exhausted_B[0]
    assert shown(one_user([9, 8, 7, 6, 5, 4, 3], 3, rules), 0).items == [3, 4, 5]


def test_many_users_are_selected_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 40)).astype(np.float32)
    rules = [ByHand([({*range(0, 40, 2)}, 3)], [({*range(0, 40, 7)}, 4)])] * 50
    whole = selected(scores, 10, rules, 20)
    monkeypatch.setattr("recsys_vae.ranking.selection._CELLS", 200)
    monkeypatch.setattr("recsys_vae.ranking.filling._CELLS", 1)
    sliced = selected(scores, 10, rules, 20)
    assert [shown(sliced, n) for n in range(50)] == [shown(whole, n) for n in range(50)]
    assert sliced.exhausted_B.tolist() == whole.exhausted_B.tolist()

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking import ItemRules, TopN, rank

Scores = npt.NDArray[np.float32]
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
FEW = st.sampled_from([0.0, -0.0, 1.0, 2.0])  # nearly all tied
SCORES = st.one_of(
    hnp.arrays(np.float32, SHAPES, elements=ANY), hnp.arrays(np.float32, SHAPES, elements=FEW)
)


def full_sort(
    scores: Scores, seen: npt.NDArray[np.bool_], permitted: npt.NDArray[np.bool_], k: int
) -> list[list[int]]:
    """Sort each user's permitted items with Python's own stable sort, and cut."""
    lists = []
    for user in range(scores.shape[0]):
        allowed = [i for i in range(scores.shape[1]) if permitted[i] and not seen[user, i]]
        best = sorted(allowed, key=lambda i: -float(scores[user, i]))[:k]
        lists.append(best + [-1] * (k - len(best)))
    return lists


def scores_of(rows: list[Any]) -> Scores:
    return np.array(rows, dtype=np.float32)


def nothing_given(n_users: int, n_items: int) -> csr_array:
    return csr_array((n_users, n_items), dtype=np.float32)


def test_nobody_gets_no_list_in_any_catalogue() -> None:
    for n_items in (5, 5_000):
        lists = rank(np.zeros((0, n_items), np.float32), nothing_given(0, n_items), 3)
        assert lists.items_BK.shape == (0, 3)


@given(SCORES, st.data())
@settings(deadline=None, max_examples=300)
def test_lists_are_those_of_a_full_stable_sort(scores: Scores, data: Any) -> None:
    n_items = scores.shape[1]
    k = data.draw(st.integers(1, n_items))
    seen = data.draw(hnp.arrays(np.bool_, scores.shape))
    permitted = data.draw(hnp.arrays(np.bool_, n_items))
    mask_seen = data.draw(st.booleans())
    lists = rank(
        scores.copy(), csr_array(seen.astype(np.float32)), k, ItemRules(permitted, mask_seen)
    )
    expected = full_sort(scores, seen & mask_seen, permitted, k)
    assert lists.items_BK.tolist() == expected
    assert lists.items_BK.dtype == np.int32
    for user, items in enumerate(expected):
        shown = [scores[user, item] if item >= 0 else -np.inf for item in items]
        assert lists.scores_BK[user].tolist() == shown
        assert lists.lengths[user] == sum(item >= 0 for item in items)
        assert lists.short[user] == (-1 in items)


@pytest.mark.parametrize("k", [1, 7, 100, 499, 500])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_long_lists_of_tied_scores_are_those_of_a_full_sort(k: int, levels: int) -> None:
    rng = np.random.default_rng(levels + k)
    scores = rng.integers(levels, size=(150, 500)).astype(np.float32)
    seen = rng.random(scores.shape) < 0.1
    lists = rank(scores.copy(), csr_array(seen.astype(np.float32)), k)
    assert lists.items_BK.tolist() == full_sort(scores, seen, np.ones(500, dtype=bool), k)


@given(SCORES, st.data())
@settings(deadline=None)
def test_a_list_does_not_depend_on_the_block(scores: Scores, data: Any) -> None:
    seen = csr_array(data.draw(hnp.arrays(np.bool_, scores.shape)).astype(np.float32))
    k = data.draw(st.integers(1, scores.shape[1]))
    whole = rank(scores.copy(), seen, k)
    for user in range(scores.shape[0]):
        alone = rank(scores[[user]].copy(), seen[[user]], k)
        assert alone.items_BK.tolist() == whole.items_BK[[user]].tolist()


def test_seen_items_are_masked_unless_asked_for() -> None:
    given_items = csr_array(scores_of([[0, 1, 0]]))
    assert rank(scores_of([[1, 9, 2]]), given_items, 2).items_BK.tolist() == [[2, 0]]
    shown = rank(scores_of([[1, 9, 2]]), given_items, 2, ItemRules(mask_seen=False))
    assert shown.items_BK.tolist() == [[1, 2]]


def test_an_interaction_of_weight_zero_is_seen_too() -> None:
    given_items = csr_array((scores_of([0.0]), [1], [0, 1]), shape=(1, 3))
    assert rank(scores_of([[1, 9, 2]]), given_items, 2).items_BK.tolist() == [[2, 0]]


def test_a_short_list_is_padded_and_flagged() -> None:
    given_items = csr_array(scores_of([[1, 1, 0], [0, 0, 0]]))
    lists = rank(scores_of([[3, 2, 1], [3, 2, 1]]), given_items, 2)
    assert lists.items_BK.tolist() == [[2, -1], [0, 1]]
    assert lists.scores_BK.tolist() == [[1, -np.inf], [3, 2]]
    assert lists.short.tolist() == [True, False]
    assert lists.lengths.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("allowed", "blocked", "expected"),
    [
        (None, None, [3, 2, 1, 0]),
        (["a", "c"], None, [2, 0, -1, -1]),
        (None, ["d"], [2, 1, 0, -1]),
        (["a", "d"], ["d"], [0, -1, -1, -1]),
    ],
)
def test_lists_keep_to_the_allowed_and_blocked_items(
    allowed: list[str] | None, blocked: list[str] | None, expected: list[int]
) -> None:
    rules = ItemRules.of(IdMap.of(["a", "b", "c", "d"]), allowed=allowed, blocked=blocked)
    lists: TopN = rank(scores_of([[0, 1, 2, 3]]), nothing_given(1, 4), 4, rules)
    assert lists.items_BK.tolist() == [expected]


@pytest.mark.parametrize("option", ["allow", "block"])
def test_an_unknown_id_in_a_rule_is_refused_by_its_option(option: str) -> None:
    with pytest.raises(InputError, match=f"--{option}: .*'x'"):
        ItemRules.of(IdMap.of(["a"]), **{f"{option}ed": ["x"]})  # type: ignore[arg-type] # a keyword made from text


def test_rules_that_leave_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="leave no item"):
        ItemRules.of(IdMap.of([1, 2]), allowed=[1], blocked=[1])


@pytest.mark.parametrize("k", [-1, 0, 4])
def test_a_list_length_beyond_the_items_is_refused(k: int) -> None:
    with pytest.raises(InputError, match="choose 1 to 3"):
        rank(np.zeros((1, 3), dtype=np.float32), nothing_given(1, 3), k)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("seen", [False, True])
def test_a_score_that_is_not_finite_is_an_error_even_where_masked(value: float, seen: bool) -> None:
    scores = scores_of([[1, 2, 3], [1, value, 3]])
    given_items = csr_array(scores_of([[0, 0, 0], [0, seen, 0]]))
    with pytest.raises(ValueError, match="user 1 of the block"):
        rank(scores, given_items, 1)

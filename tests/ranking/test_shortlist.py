"""Lists from a rough product are those of the float32 scores.

Legend: B users, I items, H hidden width.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from recsys_vae.errors import InputError
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking import ItemRules, NotFiniteError, TopN, rank, rough_product, shortlist
from recsys_vae.ranking.ordering import products
from recsys_vae.ranking.rough import Contenders
from recsys_vae.ranking.shortlist import Shortlist


def made_up(n_users: int, n_items: int, width: int, seed: int, scale: float = 1.0) -> LinearScores:
    """Make factors of few binary digits: their products are exact in float32, not in bfloat16."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.from_numpy((rng.integers(-512, 513, shape) / 64).astype(np.float32))

    return LinearScores(some(n_users, width), scale * some(n_items, width), scale * some(n_items))


def histories(n_users: int, n_items: int, seed: int, density: float = 0.1) -> csr_array:
    rng = np.random.default_rng(seed)
    return csr_array(random_array((n_users, n_items), density=density, format="csr", rng=rng))


def in_float64(users: LinearScores, seen: csr_array, k: int, rules: ItemRules) -> list[list[int]]:
    """Sort each user's permitted items by scores in double precision."""
    scores = users.hidden_BH.double() @ users.weight_IH.double().T + users.bias_I.double()
    return in_order(scores.numpy(), seen, k, rules)


def in_order(
    scores: npt.NDArray[Any], seen: csr_array, k: int, rules: ItemRules
) -> list[list[int]]:
    """Sort each user's permitted items by given scores, which are overwritten."""
    if rules.mask_seen:
        scores[seen.toarray() != 0] = -np.inf
    if rules.permitted_I is not None:
        scores[:, ~rules.permitted_I] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    order[np.isneginf(np.take_along_axis(scores, order, axis=1))] = -1
    lists: list[list[int]] = order.tolist()
    return lists


@pytest.mark.parametrize("precise", [False, True])
@given(st.integers(0, 10_000), st.data())
@settings(deadline=None, max_examples=60)
def test_lists_are_those_of_all_scores(precise: bool, seed: int, data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 300))
    k, width = data.draw(st.integers(1, n_items)), data.draw(st.integers(1, 40))
    users = made_up(n_users, n_items, width, seed, data.draw(st.sampled_from([2.0**-7, 1.0, 32.0])))
    seen = histories(n_users, n_items, seed, data.draw(st.sampled_from([0.0, 0.2, 1.0])))
    permitted = np.random.default_rng(seed).random(n_items) < data.draw(st.sampled_from([1.0, 0.5]))
    permitted[0] = True
    rules = ItemRules(permitted, data.draw(st.booleans()))
    lists = Shortlist(users.weight_IH, users.bias_I, rules, precise=precise).rank(users, seen, k)
    assert lists.items_BK.tolist() == in_float64(users, seen, k, rules)
    assert lists.items_BK.dtype == np.int32
    assert lists.scores_BK.dtype == np.float32
    shown = users.scores().numpy()
    for row, (items, scores) in enumerate(zip(lists.items_BK, lists.scores_BK, strict=True)):
        assert np.isneginf(scores[items < 0]).all()
        assert scores[items >= 0] == pytest.approx(
            shown[row, items[items >= 0]], rel=1e-4, abs=1e-4
        )


def test_scores_that_bfloat16_cannot_tell_apart_are_told_apart() -> None:
    # 600 items within a hundredth, below what bfloat16 shows of a number near 8.
    n_items, rng = 5_000, np.random.default_rng(3)
    level = np.where(np.arange(n_items) < 600, 8 + rng.permutation(n_items) * 2e-6, 1.0)
    weight_IH = torch.from_numpy(level.astype(np.float32)[:, None])
    users = LinearScores(torch.ones(2, 1), weight_IH, torch.zeros(n_items))
    lists = Shortlist(weight_IH, users.bias_I).rank(users, csr_array((2, n_items)), 50)
    assert lists.items_BK.tolist() == in_float64(users, csr_array((2, n_items)), 50, ItemRules())


def test_equal_scores_go_by_the_items_number() -> None:
    users = LinearScores(torch.ones(2, 1), torch.ones(500, 1), torch.zeros(500))
    lists = Shortlist(users.weight_IH, users.bias_I).rank(users, csr_array((2, 500)), 7)
    assert lists.items_BK.tolist() == [list(range(7))] * 2
    some = torch.zeros(500)
    some[[400, 30, 31]] = 1.0
    lists = Shortlist(users.weight_IH, some).rank(users, csr_array((2, 500)), 5)
    assert lists.items_BK.tolist() == [[30, 31, 400, 0, 1]] * 2


@pytest.mark.parametrize("moved", [0.0, -1_000.0])
def test_few_items_are_looked_at_closely(moved: float, monkeypatch: pytest.MonkeyPatch) -> None:
    users = made_up(64, 5_000, 32, 4, scale=2.0**-7)
    looked = list[int]()

    def counted(some: LinearScores, found: Contenders) -> torch.Tensor:
        looked.append(len(found.users_N))
        return products(some, found)

    monkeypatch.setattr(shortlist, "products", counted)
    # What is added to all scores of a user changes no list, but would be rounded with them.
    made = Shortlist(users.weight_IH, users.bias_I + moved)
    made.rank(users, csr_array((64, 5_000)), 50)
    # In whole numbers of eight bits 79 a user, in bfloat16 at most 74, of 5,000.
    assert 64 * 50 <= sum(looked) < 64 * 85


def test_a_user_of_another_size_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    users = made_up(64, 5_000, 32, 4, scale=2.0**-7)
    users.hidden_BH[7] *= 100.0
    looked = list[int]()

    def counted(some: LinearScores, found: Contenders) -> torch.Tensor:
        looked.append(len(found.users_N))
        return products(some, found)

    monkeypatch.setattr(shortlist, "products", counted)
    seen = csr_array((64, 5_000))
    lists = Shortlist(users.weight_IH, users.bias_I).rank(users, seen, 50)
    assert lists.items_BK.tolist() == in_float64(users, seen, 50, ItemRules())
    assert sum(looked) < 64 * 85


def test_numbers_near_the_end_of_float32_leave_the_lists_of_others_alone() -> None:
    weight_IH = torch.tensor([[0.0, 1e21], [0.0, 3e21], [1e-3, 2e21]])
    hidden_BH = torch.tensor([[1e20, 0.0], [0.0, 1.0], [0.0, 2.0]])
    users = LinearScores(hidden_BH, weight_IH, torch.tensor([0.0, 1.0, 2.0]))
    lists = Shortlist(weight_IH, users.bias_I).rank(users, csr_array((3, 3)), 2)
    assert lists.items_BK.tolist() == [[2, 1], [1, 2], [1, 2]]
    some = made_up(4, 300, 16, 3)
    large = LinearScores(some.hidden_BH * 2.0**118, some.weight_IH, some.bias_I)
    lists = Shortlist(large.weight_IH, large.bias_I).rank(large, csr_array((4, 300)), 20)
    assert lists.items_BK.tolist() == in_float64(large, csr_array((4, 300)), 20, ItemRules())


def test_a_large_catalogue_is_looked_at_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    users, seen = made_up(20, 3_000, 16, 1), histories(20, 3_000, 1)
    whole = Shortlist(users.weight_IH, users.bias_I).rank(users, seen, 40)
    monkeypatch.setattr(rough_product, "ITEMS_AT_ONCE", 170)
    pieces = Shortlist(users.weight_IH, users.bias_I).rank(users, seen, 40)
    assert_same(whole, pieces)


def test_a_list_does_not_depend_on_the_block_or_on_those_before() -> None:
    users, seen = made_up(64, 2_000, 24, 2, scale=2.0**-10), histories(64, 2_000, 2)
    made = Shortlist(users.weight_IH, users.bias_I)
    whole = made.rank(users, seen, 30)
    for start in range(0, 64, 13):
        rows = slice(start, start + 13)
        part = LinearScores(users.hidden_BH[rows], users.weight_IH, users.bias_I)
        some = made.rank(part, seen[rows], 30)
        assert np.array_equal(some.items_BK, whole.items_BK[rows])
        # To the last bit: each product is summed in one order.
        assert np.array_equal(some.scores_BK, whole.scores_BK[rows])


def assert_same(one: TopN, other: TopN) -> None:
    assert np.array_equal(one.items_BK, other.items_BK)
    assert np.array_equal(one.scores_BK, other.scores_BK)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    users = made_up(3, 10, 4, 0)
    users.hidden_BH[1, 2] = bad
    with pytest.raises(NotFiniteError, match="user 1 of the block"):
        Shortlist(users.weight_IH, users.bias_I).rank(users, csr_array((3, 10)), 2)
    users.weight_IH[4, 0] = bad
    with pytest.raises(NotFiniteError):
        Shortlist(users.weight_IH, users.bias_I)


@pytest.mark.parametrize("k", [0, 11])
def test_a_length_out_of_range_is_refused(k: int) -> None:
    users = made_up(1, 10, 4, 0)
    with pytest.raises(InputError, match=f"k = {k} is out of range: choose 1 to 10"):
        Shortlist(users.weight_IH, users.bias_I).rank(users, csr_array((1, 10)), k)


def test_nobody_gets_no_list() -> None:
    users: Any = made_up(0, 10, 4, 0)
    lists = Shortlist(users.weight_IH, users.bias_I).rank(users, csr_array((0, 10)), 3)
    assert lists.items_BK.shape == (0, 3)


def test_the_same_as_ranking_all_scores() -> None:
    users, seen = made_up(50, 4_000, 32, 9), histories(50, 4_000, 9)
    fast = Shortlist(users.weight_IH, users.bias_I).rank(users, seen, 100)
    plain = rank(users.scores().numpy(), seen, 100)
    assert np.array_equal(fast.items_BK, plain.items_BK)

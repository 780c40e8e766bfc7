"""Lists of a sparse part and a gated product are those of all their scores.

Legend: B users, I items, H hidden width.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.models.gated_scores import GatedScores
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking import ItemRules, NotFiniteError, gated
from recsys_vae.ranking.gated import GatedShortlist
from recsys_vae.ranking.ordering import products
from recsys_vae.ranking.rough import Contenders
from tests.ranking.test_shortlist import assert_same, histories, in_order, made_up


def mixture(
    n_users: int, n_items: int, width: int, seed: int, *, scale: float = 2.0**-5, gate: float = 0.1
) -> GatedScores:
    """Make logits of few binary digits, and a path of some items, a few below 0."""
    rng = np.random.default_rng(seed)
    path_II = histories(n_items, n_items, seed + 1, density=0.1)
    # Of few binary digits, too: the sums over a history are exact in any order.
    path_II.data = np.round(rng.normal(0.05, 0.05, len(path_II.data)) * 2**14) / 2**14
    given = histories(n_users, n_items, seed + 2, density=0.05)
    given.data[:] = 1
    logits = made_up(n_users, n_items, width, seed, scale)
    return GatedScores(logits, given.astype(np.float32), path_II.astype(np.float32), gate)


def in_float64(users: GatedScores, seen: csr_array, k: int, rules: ItemRules) -> list[list[int]]:
    one = users.logits
    logits = (one.hidden_BH.double() @ one.weight_IH.double().T + one.bias_I.double()).numpy()
    relative = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = (users.gate * relative).astype(np.float32) + (users.given @ users.path_II).toarray()
    return in_order(scores, seen, k, rules)


@pytest.mark.parametrize("precise", [False, True])
@given(st.integers(0, 10_000), st.data())
@settings(deadline=None, max_examples=80)
def test_lists_are_those_of_all_scores(precise: bool, seed: int, data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 300))
    k, width = data.draw(st.integers(1, n_items)), data.draw(st.integers(1, 40))
    scale = data.draw(st.sampled_from([0.0, 2.0**-9, 2.0**-6, 2.0**-4, 1.0]))
    gate = data.draw(st.sampled_from([0.0, 0.01, 0.3, 4.0]))
    users = mixture(n_users, n_items, width, seed, scale=scale, gate=gate)
    seen = histories(n_users, n_items, seed, data.draw(st.sampled_from([0.0, 0.2, 1.0])))
    permitted = np.random.default_rng(seed).random(n_items) < data.draw(st.sampled_from([1.0, 0.5]))
    permitted[0] = True
    rules = ItemRules(permitted, data.draw(st.booleans()))
    one = users.logits
    lists = GatedShortlist(one.weight_IH, one.bias_I, rules, precise=precise).rank(users, seen, k)
    assert lists.items_BK.tolist() == in_float64(users, seen, k, rules)
    shown = users.scores().numpy()
    for row, (items, scores) in enumerate(zip(lists.items_BK, lists.scores_BK, strict=True)):
        assert np.isneginf(scores[items < 0]).all()
        expected = shown[row, items[items >= 0]]
        assert scores[items >= 0] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("moved", [0.0, -1_000.0])
def test_few_items_are_looked_at_closely(moved: float, monkeypatch: pytest.MonkeyPatch) -> None:
    users = mixture(64, 5_000, 32, 4, scale=2.0**-7)
    # What is added to all logits of a user changes no score, but would be rounded with them.
    users.logits.bias_I.add_(moved)
    looked = list[int]()

    def counted(logits: LinearScores, found: Contenders) -> torch.Tensor:
        looked.append(len(found.users_N))
        return products(logits, found)

    monkeypatch.setattr(gated, "products", counted)
    one = users.logits
    GatedShortlist(one.weight_IH, one.bias_I).rank(users, csr_array((64, 5_000)), 50)
    assert 64 * 51 <= sum(looked) < 64 * 75


def test_a_list_does_not_depend_on_the_block_or_on_how_much_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not a multiple of the items that share a maximum: some stand by themselves.
    users, seen = mixture(64, 2_013, 24, 2), histories(64, 2_013, 2)
    one = users.logits
    whole = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 30)
    monkeypatch.setattr(gated, "_NEAR", 3)
    near = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 30)
    monkeypatch.setattr(gated, "_SUMS", 2_013 * 2)
    nearer = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 30)
    monkeypatch.setattr(gated, "_HELD", 2_013 * 5)
    pieces = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 30)
    monkeypatch.setattr(gated, "_SCORED", 30 * 11)
    scored = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 30)
    for parts in (near, nearer, pieces, scored):
        assert_same(whole, parts)
    assert whole.items_BK.tolist() == in_float64(users, seen, 30, ItemRules())


def test_with_logits_that_may_be_far_off_all_items_are_looked_at() -> None:
    users = mixture(6, 400, 40, 5, scale=64.0)
    one, seen = users.logits, histories(6, 400, 5)
    # Of one user alone they may: the others' lists do not change.
    one.hidden_BH[1:] *= 2.0**-12
    lists = GatedShortlist(one.weight_IH, one.bias_I).rank(users, seen, 20)
    assert lists.items_BK.tolist() == in_float64(users, seen, 20, ItemRules())
    alone = GatedShortlist(one.weight_IH, one.bias_I).rank(users.of(slice(1, 6)), seen[1:], 20)
    assert np.array_equal(alone.items_BK, lists.items_BK[1:])
    assert np.array_equal(alone.scores_BK, lists.scores_BK[1:])


def test_what_is_not_finite_is_refused() -> None:
    users = mixture(3, 10, 4, 0)
    users = replace(users, given=csr_array(np.ones((3, 10), np.float32)))
    one = users.logits
    shortlist = GatedShortlist(one.weight_IH, one.bias_I)
    nobody = csr_array((3, 10), dtype=np.float32)
    users.given.data[users.given.indptr[2] :] = np.nan
    with pytest.raises(NotFiniteError, match="user 2 of the block"):
        shortlist.rank(users, nobody, 2)
    users = mixture(3, 10, 4, 0)
    users.logits.hidden_BH[1, 2] = float("inf")
    with pytest.raises(NotFiniteError, match="user 1 of the block"):
        shortlist.rank(users, nobody, 2)
    with pytest.raises(InputError, match="k = 11 is out of range"):
        shortlist.rank(users, nobody, 11)


def test_who_is_not_finite_is_named_in_whatever_part_of_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gated, "_HELD", 20)
    users = mixture(11, 10, 4, 0)
    users = replace(users, given=csr_array(np.ones((11, 10), np.float32)))
    users.given.data[users.given.indptr[7] : users.given.indptr[8]] = np.nan
    shortlist = GatedShortlist(users.logits.weight_IH, users.logits.bias_I)
    with pytest.raises(NotFiniteError, match="user 7 of the block"):
        shortlist.rank(users, csr_array((11, 10), dtype=np.float32), 2)


def test_logits_that_overflow_are_refused() -> None:
    weight_IH, bias_I = torch.full((50, 2), 3e38), torch.zeros(50)
    nothing = csr_array((3, 50), dtype=np.float32)
    path_II = csr_array((50, 50), dtype=np.float32)
    users = GatedScores(LinearScores(torch.ones(3, 2), weight_IH, bias_I), nothing, path_II, 0.05)
    with pytest.raises(NotFiniteError, match="user 0 of the block"):
        GatedShortlist(weight_IH, bias_I).rank(users, nothing, 3)


def test_nobody_gets_no_list() -> None:
    one = mixture(1, 10, 4, 0)
    users = GatedScores(
        LinearScores(one.logits.hidden_BH[:0], one.logits.weight_IH, one.logits.bias_I),
        csr_array((0, 10), dtype=np.float32),
        one.path_II,
        0.1,
    )
    shortlist = GatedShortlist(one.logits.weight_IH, one.logits.bias_I)
    assert shortlist.rank(users, csr_array((0, 10)), 3).items_BK.shape == (0, 3)

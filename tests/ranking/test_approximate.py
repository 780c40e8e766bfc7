"""Approximate lists: exact where all cells are looked into, and honest about it elsewhere.

Legend: B users, I items, H hidden width.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model
from recsys_vae.nn.linear_scores import LinearScores
from recsys_vae.ranking import (
    ItemRules,
    Making,
    NotFiniteError,
    Ranker,
    Rules,
    TopN,
    approximate,
    read_rules,
)
from recsys_vae.ranking.approximate import ApproximateSearch
from recsys_vae.ranking.approximation import Approximation, Recall, parse_approximation
from recsys_vae.ranking.mmr import MMR
from recsys_vae.ranking.shortlist import Shortlist
from tests.models.made_up import made_up as interactions
from tests.ranking.test_shortlist import assert_same, histories, in_float64, made_up

needs_faiss = pytest.mark.skipif(
    find_spec("faiss") is None, reason="faiss, an extra of this package, is not installed"
)
ALL = 1 << 30


def search(
    users: LinearScores, probes: int, rules: ItemRules | None = None
) -> tuple[ApproximateSearch, Shortlist]:
    rules = rules or ItemRules()
    exact = Shortlist(users.weight_IH, users.bias_I, rules)
    return ApproximateSearch(users.weight_IH, users.bias_I, rules, probes, exact), exact


def clustered(n_users: int, n_items: int, width: int = 16) -> LinearScores:
    """Make users and items around common centres, so that cells have something to say."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, width))

    def some(count: int) -> torch.Tensor:
        near = centres[rng.integers(0, 20, count)] + 0.6 * rng.standard_normal((count, width))
        return torch.from_numpy(near.astype(np.float32))

    bias_I = torch.from_numpy(rng.normal(-3, 1, n_items).astype(np.float32))
    return LinearScores(some(n_users), some(n_items), bias_I)


class NoWay(Shortlist):
    """Exact lists that nobody may need."""

    def rank(self, users: LinearScores, given: csr_array, k: int) -> TopN:
        raise AssertionError("somebody was given the exact list")


@needs_faiss
@given(st.integers(0, 10_000), st.data())
@settings(deadline=None, max_examples=40)
def test_all_cells_give_the_lists_of_all_scores(seed: int, data: st.DataObject) -> None:
    n_users, n_items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 300))
    k, width = data.draw(st.integers(1, n_items)), data.draw(st.integers(1, 20))
    users = made_up(n_users, n_items, width, seed, data.draw(st.sampled_from([2.0**-7, 1.0, 32.0])))
    seen = histories(n_users, n_items, seed, data.draw(st.sampled_from([0.0, 0.2, 1.0])))
    permitted = np.random.default_rng(seed).random(n_items) < data.draw(st.sampled_from([1.0, 0.5]))
    permitted[0] = True
    rules = ItemRules(permitted, data.draw(st.booleans()))
    lists = search(users, ALL, rules)[0].rank(users, seen, k)
    assert lists.items_BK.tolist() == in_float64(users, seen, k, rules)


@needs_faiss
def test_scores_are_those_of_exact_lists_to_the_last_bit() -> None:
    users, seen = clustered(60, 4_000), histories(60, 4_000, 1, 0.01)
    items, exact = (users.weight_IH, users.bias_I), search(users, ALL)[1]
    every = ApproximateSearch(*items, ItemRules(), ALL, NoWay(*items))
    assert_same(every.rank(users, seen, 50), exact.rank(users, seen, 50))


@needs_faiss
def test_few_cells_hold_most_of_the_lists_and_recall_says_how_much() -> None:
    users, seen = clustered(60, 20_000), histories(60, 20_000, 1, 0.001)
    few, exact = search(users, 16)
    lists, wanted = few.rank(users, seen, 50), exact.rank(users, seen, 50)
    recall = Recall.of(lists, wanted)
    shares = [
        len(set(found) & set(sought)) / 50
        for found, sought in zip(lists.items_BK.tolist(), wanted.items_BK.tolist(), strict=True)
    ]
    assert recall.users == 60
    assert recall.mean == pytest.approx(sum(shares) / 60)
    # Of some 500 cells of neighbours; by chance it would be a thirtieth.
    assert 0.6 < sum(shares) / 60 < 1


def test_recall_counts_neither_padding_nor_users_without_a_list() -> None:
    scores = np.zeros((3, 3), np.float32)
    lists = TopN(np.array([[5, 6, -1], [1, 2, 3], [-1, -1, -1]], np.int32), scores)
    exact = TopN(np.array([[6, 9, -1], [3, 2, 1], [-1, -1, -1]], np.int32), scores)
    assert Recall.of(lists, exact) == Recall(2, 1 / 2 + 1)
    assert Recall(0, 0.0).mean is None


@needs_faiss
@pytest.mark.parametrize("size", [1, 7, 19, 20, 64])
def test_a_list_does_not_depend_on_the_block_or_on_the_run(size: int) -> None:
    users = clustered(130, 6_000)
    density = np.random.default_rng(4).random(130)[:, None] * 0.05
    seen = csr_array((np.random.default_rng(5).random((130, 6_000)) < density).astype(np.float32))
    whole = search(users, 4)[0].rank(users, seen, 30)
    again = search(users, 4)[0]
    for start in range(0, 130, size):
        rows = slice(start, start + size)
        part = LinearScores(users.hidden_BH[rows], users.weight_IH, users.bias_I)
        some = again.rank(part, seen[rows], 30)
        assert np.array_equal(some.items_BK, whole.items_BK[rows])
        assert np.array_equal(some.scores_BK, whole.scores_BK[rows])


@needs_faiss
@pytest.mark.parametrize("probes", [1, 4, ALL])
def test_what_is_seen_or_not_permitted_is_in_no_list(probes: int) -> None:
    users, seen = clustered(40, 3_000), histories(40, 3_000, 2, 0.1)
    permitted = np.random.default_rng(2).random(3_000) < 0.3
    lists = search(users, probes, ItemRules(permitted))[0].rank(users, seen, 100)
    taken = seen.toarray() != 0
    for row, items in enumerate(lists.items_BK):
        assert len(set(items.tolist())) == 100
        assert permitted[items].all()
        assert not taken[row, items].any()
    shown = search(users, ALL, ItemRules(mask_seen=False))[0].rank(users, seen, 100)
    assert taken[np.arange(40)[:, None], shown.items_BK].any()


@needs_faiss
def test_equal_scores_go_by_the_items_number() -> None:
    users = LinearScores(torch.ones(2, 1), torch.ones(500, 1), torch.zeros(500))
    lists = search(users, 1)[0].rank(users, csr_array((2, 500)), 7)
    assert lists.items_BK.tolist() == [list(range(7))] * 2
    some = torch.zeros(500)
    some[[400, 30, 31]] = 1.0
    users = LinearScores(users.hidden_BH, users.weight_IH, some)
    lists = search(users, ALL)[0].rank(users, csr_array((2, 500)), 5)
    assert lists.items_BK.tolist() == [[30, 31, 400, 0, 1]] * 2


@needs_faiss
def test_who_would_find_too_few_items_gets_the_exact_list() -> None:
    # One cell of some 12 items cannot fill a list of 1,000.
    users, seen = clustered(5, 3_000), histories(5, 3_000, 3)
    one, exact = search(users, 1)
    assert_same(one.rank(users, seen, 1_000), exact.rank(users, seen, 1_000))


@needs_faiss
def test_a_long_history_that_hides_the_candidates_ends_in_the_exact_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(approximate, "_MOST_SPARE", 32)
    users = clustered(3, 3_000)
    first = Shortlist(users.weight_IH, users.bias_I).rank(users, csr_array((3, 3_000)), 100)
    taken = np.zeros((3, 3_000), dtype=np.float32)
    np.put_along_axis(taken, first.items_BK.astype(np.int64), 1, axis=1)
    every, exact = search(users, ALL)
    seen = csr_array(taken)
    assert_same(every.rank(users, seen, 20), exact.rank(users, seen, 20))


@needs_faiss
def test_exact_lists_are_needed_for_nobody_as_a_rule() -> None:
    users, seen = clustered(60, 6_000), histories(60, 6_000, 1, 0.02)
    none = NoWay(users.weight_IH, users.bias_I)
    made = ApproximateSearch(users.weight_IH, users.bias_I, ItemRules(), 64, none)
    assert not made.rank(users, seen, 20).short.any()


@needs_faiss
def test_nobody_gets_no_list_and_what_is_not_finite_is_refused() -> None:
    users: Any = clustered(3, 100)
    made = search(users, 2)[0]
    nobody = LinearScores(users.hidden_BH[:0], users.weight_IH, users.bias_I)
    assert made.rank(nobody, csr_array((0, 100)), 3).items_BK.shape == (0, 3)
    users.hidden_BH[1, 2] = float("nan")
    with pytest.raises(NotFiniteError, match="user 1 of the block"):
        made.rank(users, csr_array((3, 100)), 3)
    with pytest.raises(InputError, match="k = 101 is out of range: choose 1 to 100"):
        made.rank(users, csr_array((3, 100)), 101)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hnsw", "--approximate hnsw: there is no method 'hnsw': write ivf or ivf:64"),
        ("ivf:0", "--approximate ivf:0: '0' is no number of cells to look into"),
        ("ivf:", "'' is no number of cells"),
        ("ivf:many", "'many' is no number of cells"),
        (None, "--approximate-recall is about approximate lists, and these are exact"),
    ],
)
def test_what_is_no_approximation_is_said_in_a_sentence(text: str | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_approximation(text, 0.9)


def test_too_little_of_the_exact_lists_ends_in_a_sentence() -> None:
    asked = Approximation(probes=8, least=0.95)
    asked.check(Recall(2, 1.9))
    asked.check(Recall(0, 0.0))
    Approximation().check(Recall(2, 0.0))
    with pytest.raises(InputError, match=r"finds 90.0% of the exact lists.*ivf:16"):
        asked.check(Recall(2, 1.8))


def test_it_does_not_go_with_what_needs_all_scores(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[items]\ndeny = [0]\n")
    rules = Rules.compile(read_rules(tmp_path / "rules.toml"), IdMap.of(range(4)), None, None)
    for making, named in [
        ({"rules": rules}, "--rules"),
        ({"reranking": MMR()}, "--rerank"),
        ({"explore": 3}, "--explore"),
    ]:
        with pytest.raises(InputError, match=f"leave out --approximate or {named}"):
            Making(approximate=Approximation(), **making)  # type: ignore[arg-type]


@needs_faiss
def test_models_without_a_product_are_refused() -> None:
    model = make_model("ease", {}).fit(interactions(30, 20, 0.3, 1), FitOptions(device="cpu"))
    with pytest.raises(InputError, match="those of 'ease' are not: leave out --approximate"):
        Ranker(model, 3, Making(approximate=Approximation()))


def test_without_faiss_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    model = make_model("popularity", {})
    with pytest.raises(InputError, match="`pip install faiss-cpu`, or leave out --approximate"):
        Ranker(model, 3, Making(approximate=Approximation()))

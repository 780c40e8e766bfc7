"""Measures against a loop over users in plain NumPy, and against an independent library."""

import ir_measures
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from benchmarks.loop_metrics import judge_user
from recsys_vae.evaluation.evaluate import judge
from recsys_vae.evaluation.measures import ACCURACY, BEYOND, Metric
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.ranking import TopN
from tests.evaluation.made_up import Case, case

KS = (1, 2, 10, 20, 50, 100)


@pytest.fixture(scope="module", params=[0, 1])
def made(request: pytest.FixtureRequest) -> Case:
    # With histories so long that some lists are short.
    return case(seed=request.param, items=150 if request.param == 0 else 120)


def blocks(lists: TopN, size: int) -> list[TopN]:
    n = len(lists.items_BK)
    return [
        TopN(lists.items_BK[s : s + size], lists.scores_BK[s : s + size]) for s in range(0, n, size)
    ]


@pytest.mark.parametrize("name", [*ACCURACY, *BEYOND])
def test_every_measure_equals_a_loop_over_users(made: Case, name: str) -> None:
    asked = [Metric(name, k) for k in KS if not (name == "diversity" and k == 1)]
    found = judge([made.lists], made.fold, asked, catalogue=made.catalogue).per_user
    given, held = made.fold.given.matrix, made.fold.held_out.matrix
    for user in range(given.shape[0]):
        wanted = held.indices[held.indptr[user] : held.indptr[user + 1]]
        if not len(wanted):
            assert all(np.isnan(found[str(one)][user]) for one in asked)
            continue
        with np.errstate(invalid="ignore"):  # a list of one item has no pairs
            expected = judge_user(
                made.lists.items_BK[user],
                wanted,
                given.indices[given.indptr[user] : given.indptr[user + 1]],
                KS,
                counts=made.catalogue.counts_I,
                n_users=made.catalogue.n_users,
                vectors=made.catalogue.vectors_ID,
            )
        for one in asked:
            # Diversity adds up float32 vectors in another order, the others doubles.
            close = 1e-6 if name == "diversity" else 1e-12
            assert found[str(one)][user] == pytest.approx(expected[str(one)], abs=close), one


LIBRARY = {
    "recall_all": lambda k: ir_measures.R @ k,
    "precision": lambda k: ir_measures.P @ k,
    "ndcg": lambda k: ir_measures.nDCG @ k,
    "mrr": lambda k: ir_measures.RR @ k,
    "hit_rate": lambda k: ir_measures.Success @ k,
    "map": lambda k: ir_measures.AP @ k,
}


@pytest.mark.parametrize("name", LIBRARY)
def test_accuracy_agrees_with_an_independent_library(made: Case, name: str) -> None:
    ks = [k for k in KS if k != 2]
    asked = [Metric(name, k) for k in ks]
    found = judge([made.lists], made.fold, asked).per_user
    held, items = made.fold.held_out.matrix, made.lists.items_BK
    qrels = [
        ir_measures.Qrel(str(user), str(item), 1)
        for user in range(held.shape[0])
        for item in held.indices[held.indptr[user] : held.indptr[user + 1]]
    ]
    # By place: the library sorts by score and knows no ties here.
    run = [
        ir_measures.ScoredDoc(str(user), str(item), float(-place))
        for user in range(len(items))
        for place, item in enumerate(items[user])
        if item >= 0
    ]
    measures = {LIBRARY[name](k): k for k in ks}
    counts = np.diff(held.indptr)
    seen = 0
    for one in ir_measures.iter_calc(list(measures), qrels, run):
        k, user = measures[one.measure], int(one.query_id)
        expected = one.value
        if name == "map":  # the library divides by all held-out items
            expected *= counts[user] / min(k, counts[user])
        assert found[f"{name}@{k}"][user] == pytest.approx(expected, abs=1e-6)
        seen += 1
    assert seen == len(ks) * int((counts > 0).sum())


def test_recall_of_the_paper_follows_from_the_textbook_s(made: Case) -> None:
    counts = np.diff(made.fold.held_out.matrix.indptr)
    found = judge(
        [made.lists], made.fold, [Metric("recall", 10), Metric("recall_all", 10)]
    ).per_user
    judged = counts > 0
    scaled = found["recall_all@10"][judged] * counts[judged] / np.minimum(counts[judged], 10)
    np.testing.assert_allclose(found["recall@10"][judged], scaled, rtol=1e-14)


@pytest.mark.parametrize("size", [1, 7, 59, 60])
def test_blocks_change_nothing(made: Case, size: int) -> None:
    asked = [Metric(name, k) for name in (*ACCURACY, *BEYOND, "coverage", "gini") for k in (5, 100)]
    whole = judge([made.lists], made.fold, asked, catalogue=made.catalogue)
    parts = judge(blocks(made.lists, size), made.fold, asked, catalogue=made.catalogue)
    assert parts.overall == whole.overall
    assert parts.checks == whole.checks
    for name, values in whole.per_user.items():
        # Float32 sums of vectors in another order for diversity, doubles for the others.
        np.testing.assert_allclose(parts.per_user[name], values, rtol=0, atol=1e-6, err_msg=name)


def test_the_order_of_the_users_changes_nothing(made: Case) -> None:
    asked = [Metric(name, k) for name in (*ACCURACY, *BEYOND, "coverage", "gini") for k in (5, 100)]
    whole = judge([made.lists], made.fold, asked, catalogue=made.catalogue)
    half = len(made.lists.items_BK) // 2
    # Users are sorted by id everywhere: judge the second half alone.
    rows = np.arange(half, 2 * half)
    fold = type(made.fold)(made.fold.given.rows(rows), made.fold.held_out.rows(rows))
    lists = TopN(made.lists.items_BK[rows], made.lists.scores_BK[rows])
    alone = judge([lists], fold, asked, catalogue=made.catalogue)
    for name, values in alone.per_user.items():
        np.testing.assert_allclose(values, whole.per_user[name][rows], rtol=0, atol=1e-6)


def test_users_in_any_order_have_the_same_measures(made: Case) -> None:
    asked = [Metric(name, k) for name in (*ACCURACY, *BEYOND, "coverage", "gini") for k in (5, 100)]
    whole = judge([made.lists], made.fold, asked, catalogue=made.catalogue)
    rows = np.random.default_rng(0).permutation(len(made.lists.items_BK))
    # Users stand in the order of their ids everywhere: others get the ids.
    users = IdMap.of(range(len(rows)))
    given, held_out = (
        Interactions(users, one.items, one.matrix[rows])
        for one in (made.fold.given, made.fold.held_out)
    )
    fold = type(made.fold)(given, held_out)
    lists = TopN(made.lists.items_BK[rows], made.lists.scores_BK[rows])
    mixed = judge([lists], fold, asked, catalogue=made.catalogue)
    assert mixed.overall == pytest.approx(whole.overall, abs=1e-6)
    for name, values in mixed.per_user.items():
        np.testing.assert_allclose(values, whole.per_user[name][rows], rtol=0, atol=1e-6)


def test_the_number_of_threads_changes_nothing(made: Case) -> None:
    asked = [Metric(name, k) for name in (*ACCURACY, *BEYOND, "coverage", "gini") for k in (5, 100)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                found.append(judge([made.lists], made.fold, asked, catalogue=made.catalogue))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert other.overall == found[0].overall
        for name, values in other.per_user.items():
            np.testing.assert_allclose(values, found[0].per_user[name], rtol=0, atol=1e-6)

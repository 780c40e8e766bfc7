import math

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.evaluation.evaluate import evaluate, mean_metric
from recsys_vae.evaluation.measures import parse_metric
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions, FloatMatrix, Recommender
from recsys_vae.models.popularity import Popularity
from recsys_vae.splitting import FoldIn
from tests.neighbours import Neighbours

USERS, ITEMS = 37, 23


def random_fold(seed: int = 0) -> FoldIn:
    rng = np.random.default_rng(seed)
    draw = rng.random((USERS, ITEMS))
    draw[5] = 0.9  # no item at all
    draw[6] = 0.1  # every item given, none held out
    draw[7, :] = 0.3  # nothing given, every item held out
    users, items = IdMap.of([f"u{n:02d}" for n in range(USERS)]), IdMap.of(range(ITEMS))
    held_out = csr_array(((draw > 0.2) & (draw < 0.5)).astype(np.float32))
    given = csr_array((draw <= 0.2).astype(np.float32))
    return FoldIn(Interactions(users, items, given), Interactions(users, items, held_out))


FOLD = random_fold()
MODEL = Neighbours().fit(FOLD.given, FitOptions(seed=3))


def user_by_user(model: Recommender, fold: FoldIn, metric: str, k: int) -> list[float]:
    """Judge one user at a time with Python's own sort: an oracle without any shared code."""
    values = []
    given, held_out = fold.given.matrix.toarray(), fold.held_out.matrix.toarray()
    for user in range(len(given)):
        scores = model.score(csr_array(given[[user]]))[0]
        ranked = sorted(
            (i for i in range(ITEMS) if not given[user, i]),
            key=lambda i: (-scores[i], i),
        )
        wanted = {i for i in range(ITEMS) if held_out[user, i]}
        places = [place for place, item in enumerate(ranked[:k], start=1) if item in wanted]
        best = range(1, min(k, len(wanted)) + 1)
        if not wanted:
            values.append(math.nan)
        elif metric == "recall":
            values.append(len(places) / min(k, len(wanted)))
        else:
            ideal = sum(1 / math.log2(1 + place) for place in best)
            values.append(sum(1 / math.log2(1 + place) for place in places) / ideal)
    return values


@pytest.mark.parametrize("metric", ["recall", "ndcg"])
@pytest.mark.parametrize("k", [1, 2, 5, 20, ITEMS, 100])
def test_metrics_equal_those_of_a_loop_over_users(metric: str, k: int) -> None:
    found = evaluate(MODEL, FOLD, [f"{metric}@{k}"]).per_user[f"{metric}@{k}"]
    # Double precision, at most 23 discounts added in another order.
    np.testing.assert_allclose(found, user_by_user(MODEL, FOLD, metric, k), rtol=1e-13)


@pytest.mark.parametrize("block", [1, 2, 7, USERS - 1, USERS, 1_000])
def test_the_block_does_not_change_the_result(block: int) -> None:
    names = ["recall@3", "ndcg@10"]
    whole = evaluate(MODEL, FOLD, names, block=USERS)
    parts = evaluate(MODEL, FOLD, names, block=block)
    for name in names:
        # NumPy may add the discounts of a single row in another order: float rounding.
        np.testing.assert_allclose(parts.per_user[name], whole.per_user[name], rtol=1e-14)


def test_a_metric_does_not_depend_on_its_company() -> None:
    alone = evaluate(MODEL, FOLD, ["ndcg@3"]).per_user["ndcg@3"]
    together = evaluate(MODEL, FOLD, ["recall@20", "ndcg@3", "ndcg@100"]).per_user["ndcg@3"]
    # The same numbers, added in another order.
    np.testing.assert_allclose(alone, together, rtol=1e-14)


def test_users_without_held_out_items_are_left_out_and_counted() -> None:
    evaluation = evaluate(MODEL, FOLD, ["recall@5"])
    empty = np.diff(FOLD.held_out.matrix.indptr) == 0
    assert empty.sum() >= 2
    np.testing.assert_array_equal(np.isnan(evaluation.per_user["recall@5"]), empty)
    estimate = evaluation.estimates()["recall@5"]
    assert (estimate.users, estimate.left_out) == (USERS - empty.sum(), empty.sum())
    # The mean of the same numbers, added in another order.
    assert mean_metric(MODEL, FOLD, "recall@5") == pytest.approx(estimate.mean, rel=1e-14)


def test_a_model_that_knows_the_held_out_items_is_perfect() -> None:
    class Oracle(Neighbours):
        def score(self, given: csr_array) -> FloatMatrix:
            return np.asarray(FOLD.held_out.matrix.toarray(), dtype=np.float32)

    oracle = Oracle().fit(FOLD.given, FitOptions())
    for values in evaluate(oracle, FOLD, ["recall@1", "recall@9", "ndcg@9"]).per_user.values():
        # The discounts of a perfect list and of the ideal one, added in another order.
        np.testing.assert_allclose(values[~np.isnan(values)], 1.0, rtol=1e-14)


def test_the_frame_has_one_row_a_user_and_a_column_a_metric() -> None:
    evaluation = evaluate(MODEL, FOLD, ["recall@5", "ndcg@5"])
    frame = evaluation.frame()
    assert list(frame.columns) == ["user", "recall@5", "ndcg@5"]
    assert frame["user"].tolist() == [f"u{n:02d}" for n in range(USERS)]
    np.testing.assert_array_equal(frame["ndcg@5"], evaluation.per_user["ndcg@5"])


@pytest.mark.parametrize(
    "name", ["", "recall", "recall@", "recall@0", "recall@-1", "recall@x", "bias@5", "@5", "ndcg@²"]
)
def test_a_metric_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="for example ndcg@100"):
        parse_metric(name)
    with pytest.raises(InputError):
        evaluate(MODEL, FOLD, [name])


def test_items_that_are_not_the_models_are_refused() -> None:
    train = Interactions.from_frame(pd.DataFrame({"user": [1], "item": [1]}))
    stranger = Popularity().fit(train, FitOptions())
    with pytest.raises(InputError, match="not those that model 'popularity' was trained on"):
        evaluate(stranger, FOLD)


def test_nothing_to_find_is_refused_where_a_mean_is_needed() -> None:
    nothing = Interactions(
        FOLD.given.users, FOLD.given.items, csr_array((USERS, ITEMS), dtype="f4")
    )
    with pytest.raises(InputError, match="no validation user has a held-out item"):
        mean_metric(MODEL, FoldIn(FOLD.given, nothing), "recall@5")

"""Leaderboards: order, marks, seeds."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.evaluation.comparison import BEST, Comparison, Entry, compare
from recsys_vae.evaluation.intervals import bootstrap
from recsys_vae.evaluation.significance import differences

RNG = np.random.default_rng(0)
USERS = 400
BASE = RNG.random(USERS)


def entry(label: str, *fits: npt.NDArray[np.float64], coverage: float = 0.5) -> Entry:
    values = np.stack(fits)
    return Entry(
        label,
        tuple(range(len(fits))),
        {"ndcg@10": values, "popularity@10": 1 - values},
        {"coverage@10": (coverage,) * len(fits)},
    )


def row(comparison: Comparison, model: str, metric: str = "ndcg@10") -> "dict[str, object]":
    board = comparison.leaderboard
    (found,) = board[(board["model"] == model) & (board["metric"] == metric)].to_dict("records")
    return {str(key): value for key, value in found.items()}


BETTER = entry("better", BASE + 0.1)
GOOD = entry("good", BASE)
NEAR = entry("near", BASE + 0.1 + 0.01 * RNG.standard_normal(USERS), coverage=0.9)


def test_models_are_sorted_and_marked() -> None:
    comparison = compare([GOOD, BETTER, NEAR], "ndcg@10")
    order = comparison.leaderboard["model"].unique().tolist()
    assert order[-1] == "good"
    best, second = order[0], order[1]
    assert row(comparison, best)["mark"] == BEST
    assert row(comparison, second)["mark"] == ""
    assert row(comparison, "good")["mark"] == "***"
    assert row(comparison, "good")["difference"] == pytest.approx(-0.1, abs=0.01)


def test_the_correction_is_for_the_number_of_models() -> None:
    comparison = compare([GOOD, BETTER, NEAR], "ndcg@10")
    best = comparison.leaderboard["model"].iloc[0]
    others = [one for one in (GOOD, BETTER, NEAR) if one.label != best]
    lead = next(one for one in (GOOD, BETTER, NEAR) if one.label == best)
    pairs = [(one.per_user["ndcg@10"][0], lead.per_user["ndcg@10"][0]) for one in others]
    p = sorted(one.p for one in differences(pairs))
    corrected = sorted(float(str(row(comparison, one.label)["p_holm"])) for one in others)
    assert corrected == pytest.approx([min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])])


def test_less_is_better_where_it_is() -> None:
    comparison = compare([GOOD, BETTER], "popularity@10")
    assert comparison.leaderboard["model"].iloc[0] == "better"
    assert row(comparison, "better", "popularity@10")["best"]


def test_measures_of_all_lists_together_have_no_interval_and_no_test() -> None:
    found = row(compare([GOOD, NEAR], "ndcg@10"), "good", "coverage@10")
    assert found["mean"] == 0.5
    assert np.isnan(float(str(found["low"])))
    assert np.isnan(float(str(found["p"])))


def test_all_pairs_are_compared_once() -> None:
    pairs = compare([GOOD, BETTER, NEAR], "ndcg@10").pairs
    own = pairs[pairs["metric"] == "ndcg@10"]
    assert {frozenset(one) for one in zip(own["model"], own["other"], strict=True)} == {
        frozenset(one) for one in (("good", "better"), ("good", "near"), ("better", "near"))
    }


def test_one_seed_has_the_interval_of_the_bootstrap() -> None:
    found = row(compare([GOOD, BETTER], "ndcg@10"), "good")
    expected = bootstrap(BASE)
    # The same draws; sums of doubles in another order.
    assert found["low"] == pytest.approx(expected.low, rel=1e-9)
    assert found["high"] == pytest.approx(expected.high, rel=1e-9)


def test_several_seeds_widen_the_interval_by_their_spread() -> None:
    apart = entry("apart", BASE - 0.2, BASE, BASE + 0.2)
    alike = entry("alike", BASE, BASE, BASE)
    comparison = compare([apart, alike], "ndcg@10")
    one, other = row(comparison, "apart"), row(comparison, "alike")
    assert one["mean"] == pytest.approx(float(str(other["mean"])))
    assert one["seeds"] == 3
    width = [float(str(r["high"])) - float(str(r["low"])) for r in (one, other)]
    # Means of three draws among -.2, 0 and .2 scatter by .094: the 95 % are about .4 wide.
    assert width[0] > width[1] + 0.2


def test_the_same_seed_gives_the_same_table() -> None:
    one, other = (compare([GOOD, NEAR, BETTER], "ndcg@10", seed=5) for _ in range(2))
    assert one.leaderboard.equals(other.leaderboard)


def test_the_table_for_people_has_a_row_a_model() -> None:
    table = compare([GOOD, BETTER], "ndcg@10").table(["ndcg@10", "coverage@10"])
    assert table["model"].tolist() == ["better", "good"]
    assert table["ndcg@10"].iloc[0].endswith("] (best)")
    assert table["ndcg@10"].iloc[1].endswith("] ***")


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="no model to compare"):
        compare([], "ndcg@10")
    with pytest.raises(InputError, match="--by recall@3 is not among the metrics ndcg@10"):
        compare([GOOD], "recall@3")


def test_one_model_alone_is_the_best_of_all() -> None:
    comparison = compare([GOOD], "ndcg@10")
    assert row(comparison, "good")["mark"] == BEST
    assert comparison.pairs.empty


def test_wins_are_users_for_whom_the_model_is_better_also_where_less_is() -> None:
    comparison = compare([GOOD, BETTER], "ndcg@10")
    for metric in ("ndcg@10", "popularity@10"):
        found = row(comparison, "good", metric)
        assert (found["wins"], found["losses"]) == (0, USERS)
    pairs = comparison.pairs.set_index("metric")
    assert pairs.loc["popularity@10", "losses"] == USERS


def test_where_nobody_is_judged_nobody_is_best() -> None:
    nobody = np.full(USERS, np.nan)
    models = [Entry(one, (0,), {"diversity@1": nobody[None]}, {}) for one in ("a", "b")]
    comparison = compare(models, "diversity@1")
    assert not comparison.leaderboard["best"].any()
    assert comparison.against_best().empty
    assert comparison.leaderboard["p_holm"].isna().all()


def test_a_user_counts_where_every_seed_has_a_value_in_mean_and_interval_alike() -> None:
    # Only one user is judged by both fits: there is nothing to resample.
    first, second = np.full(USERS, 0.9), np.full(USERS, np.nan)
    first[:2], second[0] = (0.2, np.nan), 0.4
    first[2:4] = np.nan
    second[1] = 0.7
    one = Entry("one", (0, 1), {"ndcg@10": np.stack([first, second])}, {})
    found = row(compare([one], "ndcg@10"), "one")
    assert (found["users"], found["mean"]) == (1, pytest.approx(0.3))
    assert 0.2 - 1e-12 <= float(str(found["low"])) <= float(str(found["high"])) <= 0.4 + 1e-12


def test_few_columns_at_once_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare([GOOD, BETTER, NEAR], "ndcg@10")
    monkeypatch.setattr("recsys_vae.evaluation.comparison._VALUES_AT_ONCE", USERS)
    parts = compare([GOOD, BETTER, NEAR], "ndcg@10")
    pd.testing.assert_frame_equal(whole.leaderboard, parts.leaderboard)
    pd.testing.assert_frame_equal(whole.pairs, parts.pairs)

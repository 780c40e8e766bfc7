"""What is found on several splits of one data set, taken together."""

import numpy as np

from benchmarks.splits import pooled, times_ahead
from recsys_vae.evaluation.comparison import Entry


def _entry(label: str, *values: float) -> Entry:
    return Entry(label=label, seeds=(0,), per_user={"ndcg@5": np.array([values])}, overall={})


def test_users_of_all_splits_stand_beside_each_other() -> None:
    first = [_entry("a", 0.5, 0.25), _entry("b", 0.0, 1.0)]
    # In another order: a leaderboard is sorted by who was ahead on its split.
    second = [_entry("b", 0.75), _entry("a", 0.125)]
    a, b = pooled([first, second])
    assert (a.label, b.label) == ("a", "b")
    assert a.per_user["ndcg@5"].tolist() == [[0.5, 0.25, 0.125]]
    assert b.per_user["ndcg@5"].tolist() == [[0.0, 1.0, 0.75]]
    assert times_ahead([first, second], "ndcg@5") == {"a": 0, "b": 2}

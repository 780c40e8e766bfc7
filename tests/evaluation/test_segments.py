"""Parts of users and items, judged by themselves."""

import numpy as np
import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.evaluation.evaluate import judge
from recsys_vae.evaluation.measures import Metric
from recsys_vae.evaluation.segments import (
    ItemSegments,
    UserSegments,
    by_activity,
    by_attribute,
    by_popularity,
    segment_rows,
)
from recsys_vae.interactions import IdMap
from tests.evaluation.made_up import case, interactions

MADE = case()
ASKED = [Metric("recall_all", 20), Metric("ndcg", 10)]


def test_activity_parts_the_judged_users_into_quarters() -> None:
    parts = by_activity(MADE.fold)
    lengths = np.diff(MADE.fold.given.matrix.indptr)
    judged = np.diff(MADE.fold.held_out.matrix.indptr) > 0
    flags = np.stack([one for _, one in parts.masks()])
    assert (flags[:, judged].sum(axis=0) == 1).all()
    sizes = flags[:, judged].sum(axis=1)
    assert 2 <= len(sizes) <= 4
    assert sizes.min() >= judged.sum() // 8
    tops = [lengths[one].max() for one in flags]
    assert tops == sorted(tops)


def test_equal_histories_are_one_part() -> None:
    same = interactions(np.eye(5, dtype=bool))
    held = interactions(np.roll(np.eye(5, dtype=bool), 1, axis=1))
    parts = by_activity(type(MADE.fold)(same, held))
    assert [label for label, _ in parts.masks()] == ["1 given items"]


def test_a_segment_of_users_has_their_mean() -> None:
    found = judge([MADE.lists], MADE.fold, ASKED)
    young = np.arange(60) < 20
    rows = segment_rows(found.per_user, [UserSegments("age", {"young": young})], {})
    values = found.per_user["ndcg@10"][young]
    (row,) = [one for one in rows if one["metric"] == "ndcg@10"]
    assert row["mean"] == pytest.approx(np.nanmean(values))
    assert (row["by"], row["segment"]) == ("age", "young")
    assert row["users"] + row["left_out"] == 20


def test_segments_of_items_add_up_to_the_whole() -> None:
    parts = by_popularity(MADE.catalogue)
    found = judge([MADE.lists], MADE.fold, ASKED, item_segments=[parts])
    held, group = MADE.fold.held_out.matrix, MADE.catalogue.group_I
    hits = np.zeros(60)
    for code, (label, _) in enumerate(parts.masks()):
        values = found.by_items["popularity", label]["recall_all@20"]
        rows = np.repeat(np.arange(60), np.diff(held.indptr))
        counts = np.bincount(rows[group[held.indices] == code], minlength=60)
        assert np.isnan(values).tolist() == (counts == 0).tolist()
        hits += np.nan_to_num(values) * counts
    whole = found.per_user["recall_all@20"] * np.diff(held.indptr)
    np.testing.assert_allclose(hits, np.nan_to_num(whole), atol=1e-12)


def test_an_attribute_may_have_several_values_and_be_unknown() -> None:
    ids = IdMap.of(["a", "b", "c"])
    values = pd.Series(["Drama|Action", "Action", "Comedy"], index=["a", "b", "elsewhere"])
    parts = by_attribute(ids, values, "genre", of_items=True)
    assert isinstance(parts, ItemSegments)
    assert {label: flags.tolist() for label, flags in parts.masks()} == {
        "Action": [True, True, False],
        "Drama": [True, False, False],
        "(unknown)": [False, False, True],
    }


def test_attributes_that_do_not_serve_are_refused() -> None:
    ids = IdMap.of(range(100))
    with pytest.raises(InputError, match="none of its ids is a judged user"):
        by_attribute(ids, pd.Series(["x"], index=[1000]), "age", of_items=False)
    many = pd.Series([str(n) for n in range(100)], index=range(100))
    with pytest.raises(InputError, match="--by age has 100 different values, at most 50"):
        by_attribute(ids, many, "age", of_items=False)

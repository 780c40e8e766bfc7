import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import Account, CleaningOptions
from tests.ingest.cleaned import Cleaned, clean

FILE = Path("ratings.csv")
ALL = CleaningOptions(min_user_items=1, min_item_users=1, max_rejected=1.0)
RATINGS = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 0.5, 3.5, 4.0, 5.0])
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), RATINGS), min_size=1, max_size=50)
Row = tuple[int, int, float]


def frame_of(rows: list[Any]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"][: len(rows[0])])
    return frame.assign(row=range(1, len(frame) + 1))


def cleaned(rows: list[Any], options: CleaningOptions) -> Cleaned | None:
    try:
        return clean(frame_of(rows), options, FILE)
    except InputError:
        return None


def pairs(result: Cleaned) -> set[tuple[int, int]]:
    return set(zip(result.frame["user"], result.frame["item"], strict=True))


@given(ROWS, st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None)
def test_every_row_is_accounted_for(rows: list[Row], user_items: int, item_users: int) -> None:
    options = CleaningOptions(
        min_user_items=user_items, min_item_users=item_users, max_rejected=1.0, threshold=0.5
    )
    result = cleaned(rows, options)
    if result is None:
        return
    read, usable, above, distinct, core = result.steps
    good = [row for row in rows if 0 <= row[2] < np.inf]
    liked = [row for row in good if row[2] > 0.5]
    once = {(user, item) for user, item, _ in liked}
    assert (read.rows_in, read.rows_out) == (len(rows), len(rows))
    assert (usable.rows_in, usable.rows_out) == (len(rows), len(good))
    assert (above.rows_in, above.rows_out) == (len(good), len(liked))
    assert (distinct.rows_in, distinct.rows_out) == (len(liked), len(once))
    assert (core.rows_in, core.rows_out) == (len(once), len(result.frame))
    assert sum(step.rows_in - step.rows_out for step in result.steps) == len(rows) - len(
        result.frame
    )
    for step, kept in ((usable, good), (above, liked)):
        assert (step.users, step.items) == (len({r[0] for r in kept}), len({r[1] for r in kept}))
    assert pairs(result) <= once
    assert len(pairs(result)) == len(result.frame)


@given(ROWS, st.integers(1, 3), st.integers(1, 3), st.randoms())
@settings(deadline=None)
def test_the_order_of_the_rows_does_not_matter(
    rows: list[Row], user_items: int, item_users: int, random: Any
) -> None:
    options = CleaningOptions(
        min_user_items=user_items, min_item_users=item_users, max_rejected=1.0
    )
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = cleaned(rows, options), cleaned(shuffled, options)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert pairs(one) == pairs(other)
        assert one.steps == other.steps
        assert one.threshold == other.threshold


@given(
    st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1),
    st.integers(1, 4),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=200)
def test_the_core_is_the_largest_set_in_which_all_have_enough(
    rows: set[tuple[int, int]], user_items: int, item_users: int
) -> None:
    # Taking away one poor user or item at a time ends at the same core, whatever the order.
    core = set(rows)
    while True:
        users, items = [user for user, _ in core], [item for _, item in core]
        poor = {p for p in core if users.count(p[0]) < user_items or items.count(p[1]) < item_users}
        if not poor:
            break
        core -= {min(poor)}
    options = CleaningOptions(min_user_items=user_items, min_item_users=item_users)
    result = cleaned(sorted(rows), options)
    assert (set() if result is None else pairs(result)) == core


def test_the_core_is_sought_again_until_nothing_changes() -> None:
    # Item 9 goes for want of users, then user 1 for want of items, then item 8, then user 2.
    chain = [(1, 9), (1, 8), (2, 8), (2, 7), (3, 7), (3, 6), (4, 7), (4, 6)]
    result = clean(frame_of(chain), CleaningOptions(min_user_items=2, min_item_users=2), FILE)
    assert pairs(result) == {(3, 7), (3, 6), (4, 7), (4, 6)}


@pytest.mark.parametrize(
    ("ratings", "threshold", "kept"),
    [
        ([3.5, 4.0, 5.0], 3.5, 2),  # stars; the threshold itself is not above
        ([0.5, 2.0, 5.0], 3.5, 1),
        ([4.0, 4.0, 4.0], 3.5, 3),
        ([0.0, 1.0, 5.5], 0.0, 2),  # no star scale
        ([0.0, 1.0, 300.0], 0.0, 2),  # play counts
        ([1.0, 1.0, 0.0], 0.0, 2),  # yes and no
    ],
)
def test_the_threshold_suits_the_scale(ratings: list[float], threshold: float, kept: int) -> None:
    result = clean(frame_of([(1, n, r) for n, r in enumerate(ratings)]), ALL, FILE)
    assert result.threshold == threshold
    assert len(result.frame) == kept


def test_an_infinite_rating_does_not_hide_the_stars() -> None:
    result = clean(frame_of([(1, 1, np.inf), (1, 2, 3.0), (1, 3, 4.0)]), ALL, FILE)
    assert result.threshold == 3.5
    assert pairs(result) == {(1, 3)}


def test_a_threshold_that_was_asked_for_is_used() -> None:
    options = CleaningOptions(threshold=2.0, min_user_items=1)
    result = clean(frame_of([(1, 1, 2.0), (1, 2, 2.5), (1, 3, 5.0)]), options, FILE)
    assert result.threshold == 2.0
    assert pairs(result) == {(1, 2), (1, 3)}


def test_rows_without_ratings_all_count() -> None:
    result = clean(frame_of([(1, 1), (1, 2), (1, 1)]), ALL, FILE)
    assert result.threshold is None
    assert pairs(result) == {(1, 1), (1, 2)}
    assert [step.name for step in result.steps][1] == "drop unusable rows"


@pytest.mark.parametrize("rating", [np.nan, np.inf, -np.inf, -0.5])
@pytest.mark.parametrize("user", [1, "anna"])
def test_an_unusable_rating_is_refused_by_its_row(rating: float, user: Any) -> None:
    frame = frame_of([(user, 1, 4.0), (user, 2, rating), (user, 3, rating)])
    with pytest.raises(InputError) as caught:
        clean(frame, CleaningOptions(strict=True), FILE)
    assert re.search(
        r"ratings\.csv, row 2: the rating is (missing|infinite|negative)", str(caught.value)
    )
    assert "--strict" in str(caught.value)


def test_too_many_unusable_rows_are_refused_with_an_example() -> None:
    frame = frame_of([(1, 1, 4.0), (1, 2, -1.0), (1, 3, np.nan)])
    with pytest.raises(InputError, match=r"2 of 3 rows of ratings\.csv.*row 2: the rating is neg"):
        clean(frame, CleaningOptions(), FILE)


@pytest.mark.parametrize("rating", [np.nan, np.inf, -np.inf, -0.5])
def test_an_unusable_rating_is_dropped_and_counted_on_request(rating: float) -> None:
    result = clean(frame_of([(1, 1, 4.0), (1, 2, rating), (1, 3, 5.0)]), ALL, FILE)
    assert pairs(result) == {(1, 1), (1, 3)}
    assert (result.steps[1].rows_in, result.steps[1].rows_out) == (3, 2)


def test_a_pair_counts_once_if_any_of_its_ratings_is_high_enough() -> None:
    result = clean(frame_of([(1, 1, 1.0), (1, 1, 5.0), (1, 1, 4.5)]), ALL, FILE)
    assert pairs(result) == {(1, 1)}
    assert result.steps[3].rows_in - result.steps[3].rows_out == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([(1, 1, 1.0), (1, 2, 3.5)], r"threshold 3\.5 \(the highest is 3\.5\)"),
        ([(1, 1, np.nan)], "no row is usable, mostly because the rating is missing"),
        ([(1, 1, 5.0), (2, 1, 5.0)], "lower --min-user-items"),
    ],
)
def test_nothing_left_is_refused(rows: list[Row], reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        clean(frame_of(rows), CleaningOptions(max_rejected=1.0), FILE)
    assert str(caught.value).startswith("ratings.csv: no ")


def test_a_window_that_left_low_ratings_only_is_named_beside_the_threshold() -> None:
    rows: list[Row] = [(1, 1, 5.0), (2, 2, 1.0)]
    options = CleaningOptions(deny_users=("1",))
    with pytest.raises(InputError, match=r"the steps before left, none .* threshold 3\.5: lower"):
        clean(frame_of(rows), options, FILE)


def test_the_report_is_plain() -> None:
    result = clean(frame_of([(1, 1), (1, 2)]), ALL, FILE)
    assert Account(result.steps, None, {}, False).report()[0] == {
        "name": "read",
        "rows_in": 2,
        "rows_out": 2,
        "users": 1,
        "items": 2,
    }

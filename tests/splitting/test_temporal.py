from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting import FoldIn, Split, TemporalOptions, split_temporal
from tests.splitting.histories import (
    TIMES,
    Times,
    equal,
    history,
    ids_of,
    interactions_of,
    pairs,
    timed,
)

SHARES = st.sampled_from(["0.5", "0.7", "0.9"])
NEW_USERS = st.sampled_from(["leave-out", "include"])
OPTIONS: st.SearchStrategy[Any] = st.builds(TemporalOptions, split_at=SHARES, new_users=NEW_USERS)


def split_or_pass(times: Times, options: TemporalOptions) -> Split:
    """Split; data that are refused, because a part is empty, say nothing about the laws."""
    try:
        return split_temporal(Interactions.from_frame(timed(times)), options)
    except InputError:
        assume(False)
        raise


@given(TIMES, OPTIONS)
def test_nothing_leaks_over_the_two_points(times: Times, options: TemporalOptions) -> None:
    split = split_or_pass(times, options)
    validation_from = split.description["validation_from_ms"]
    test_from = split.description["test_from_ms"]

    def when(part: Interactions) -> list[int]:
        return [times[u][i] for u, i in pairs(part)]

    assert max(when(split.train)) < validation_from <= min(when(split.validation.held_out))
    assert max(when(split.validation.held_out)) < test_from <= min(when(split.test.held_out))
    assert max(when(split.validation.given), default=-9) < validation_from
    assert max(when(split.test.given), default=-9) < test_from


@given(TIMES, OPTIONS)
def test_the_parts_are_disjoint_and_with_what_is_counted_the_whole(
    times: Times, options: TemporalOptions
) -> None:
    split = split_or_pass(times, options)
    validation_from = split.description["validation_from_ms"]
    test_from = split.description["test_from_ms"]
    everything = {(u, i): t for u, taken in times.items() for i, t in taken.items()}
    # Train is all that came before, and its items are the catalogue.
    train = {pair for pair, t in everything.items() if t < validation_from}
    assert pairs(split.train) == train
    catalogue = {item for _, item in train}
    assert set(ids_of(split.train.items)) == catalogue
    counts = split.description["counts"]
    bounds = {"validation": (validation_from, test_from), "test": (test_from, 10**9)}
    for name, fold in (("validation", split.validation), ("test", split.test)):
        low, high = bounds[name]
        after = {pair for pair, t in everything.items() if low <= t < high}
        known = {(u, i) for u, i in after if i in catalogue}
        before = {(u, i) for (u, i), t in everything.items() if t < low and i in catalogue}
        new = {u for u, _ in known} - {u for u, _ in before}
        kept = known if options.new_users == "include" else {p for p in known if p[0] not in new}
        assert pairs(fold.held_out) == kept
        # Given is the judged users' whole past, as far as the model can know it.
        assert pairs(fold.given) == {p for p in before if p[0] in {u for u, _ in kept}}
        assert counts[f"{name}_interactions_dropped_unknown_item"] == len(after - known)
        assert counts.get(f"{name}_interactions_dropped_new_user", 0) == len(known - kept)
        assert counts[f"{name}_new_users"] == len(new)


@given(TIMES, OPTIONS, st.randoms())
@settings(max_examples=25)
def test_the_order_of_the_rows_does_not_matter(
    times: Times, options: TemporalOptions, random: Any
) -> None:
    one = split_or_pass(times, options)
    frame = timed(times)
    rows = list(range(len(frame)))
    random.shuffle(rows)
    other = split_temporal(Interactions.from_frame(frame.iloc[rows]), options)
    assert equal(one, other)
    assert one.description == other.description


def day(number: int) -> int:
    """The first millisecond of a day in January 2020."""
    return int(datetime(2020, 1, number, tzinfo=UTC).timestamp()) * 1000


WEEK = {
    "ann": {1: day(1), 2: day(2), 3: day(4), 9: day(6)},
    "bob": {2: day(1), 3: day(3), 9: day(5), 1: day(6)},
    "cy": {1: day(4), 2: day(7)},
    "dan": {1: day(1), 3: day(2)},
}
FROM = {"split_at": "2020-01-06", "validation_at": "2020-01-04T01:00+01:00"}


def week() -> Interactions:
    rows = [(user, item, when) for user, taken in WEEK.items() for item, when in taken.items()]
    return Interactions.from_frame(pd.DataFrame(rows, columns=["user", "item", "timestamp"]))


def test_a_week() -> None:
    split = split_temporal(week(), TemporalOptions(**FROM))  # type: ignore[arg-type] # mypy thinks of `new_users`
    assert history(split.train) == {"ann": {1, 2}, "bob": {2, 3}, "dan": {1, 3}}
    # Bob's 9 is unknown, and Cy is new.
    assert history(split.validation.given) == {"ann": {1, 2}}
    assert history(split.validation.held_out) == {"ann": {3}}
    # By the time of the test Cy has a history, too; Ann's 9 is unknown.
    assert history(split.test.given) == {"bob": {2, 3}, "cy": {1}}
    assert history(split.test.held_out) == {"bob": {1}, "cy": {2}}
    assert split.description["counts"] == {
        "validation_new_users": 1,
        "validation_users_dropped_unknown_items": 1,
        "validation_interactions_dropped_unknown_item": 1,
        "validation_interactions_dropped_new_user": 1,
        "test_new_users": 0,
        "test_users_dropped_unknown_items": 1,
        "test_interactions_dropped_unknown_item": 1,
        "test_interactions_dropped_new_user": 0,
    }
    assert split.description["validation_from"] == "2020-01-04T00:00:00.000Z"
    assert split.description["test_from"] == "2020-01-06T00:00:00.000Z"


def test_new_users_are_judged_on_request_with_nothing_given() -> None:
    split = split_temporal(week(), TemporalOptions(**FROM, new_users="include"))
    assert history(split.validation.given) == {"ann": {1, 2}, "cy": set()}
    assert history(split.validation.held_out) == {"ann": {3}, "cy": {1}}
    assert split.description["counts"]["validation_new_users"] == 1
    assert ids_of(split.train.users) == ["ann", "bob", "dan"]


@pytest.mark.parametrize(
    ("options", "validation_from", "test_from"),
    [
        # A hundred interactions at the times 0, 1, 2...: shares are counts.
        ({}, 81, 90),
        ({"split_at": "0.5"}, 45, 50),
        ({"split_at": "0.5", "validation_at": "0.25"}, 25, 50),
        ({"split_at": "1970-01-01T00:00:00.060Z", "validation_at": "0.3"}, 30, 60),
        # Rounded up: the interaction at 60 ms lies before.
        ({"split_at": "1970-01-01T00:00:00.060001", "validation_at": "0.3"}, 30, 61),
    ],
)
def test_a_point_is_a_share_or_a_time(
    options: dict[str, Any], validation_from: int, test_from: int
) -> None:
    frame = pd.DataFrame(
        {"user": [n % 5 for n in range(100)], "item": [n // 5 for n in range(100)]}
    )
    # Ten users more take everything first, so that everything is known.
    first = pd.DataFrame([(u, i) for u in (7, 8) for i in range(20)], columns=["user", "item"])
    frame = pd.concat([first, frame.iloc[:60]], ignore_index=True)
    source = Interactions.from_frame(frame.assign(timestamp=range(100)))
    split = split_temporal(source, TemporalOptions(**options, new_users="include"))
    assert split.description["validation_from_ms"] == validation_from
    assert split.description["test_from_ms"] == test_from


def test_interactions_at_one_time_are_never_parted() -> None:
    times = {user: {item: (item > 4) + (item > 6) for item in range(9)} for user in range(4)}
    times[9] = dict.fromkeys(range(9), 0)
    source = Interactions.from_frame(timed(times))
    split = split_temporal(source, TemporalOptions(split_at="0.95", validation_at="0.8"))
    # 29 of 45 interactions lie at 0, 8 at 1, 8 at 2: both points move back to a change of time.
    assert (len(split.train), len(split.validation.held_out), len(split.test.held_out)) == (
        29,
        8,
        8,
    )


@pytest.mark.parametrize("text", ["", "yesterday", "0", "1", "1.5", "-0.1", "nan", "2020-13-01"])
@pytest.mark.parametrize("option", ["split_at", "validation_at"])
def test_what_is_no_point_in_time_is_refused(text: str, option: str) -> None:
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')} .*is no point in time"):
        TemporalOptions(**{option: text})  # type: ignore[arg-type] # mypy thinks of `new_users`


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split_at": "2021-01-01"}, "2021-01-01.* to test on"),
        ({"split_at": "2019-01-01"}, "to learn from"),
        ({"split_at": "2020-01-04", "validation_at": "2020-01-05"}, "to validate on"),
        ({"split_at": "2020-01-04", "validation_at": "2020-01-04"}, "to validate on"),
        ({"split_at": "2020-01-04", "validation_at": "2019-12-31"}, "to learn from"),
    ],
)
def test_points_that_leave_a_part_empty_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=rf"{words}.*between 2020-01-01T.* and 2020-01-07T"):
        split_temporal(week(), TemporalOptions(**options))


def test_without_times_there_is_no_before() -> None:
    with pytest.raises(InputError, match=r"temporal .*--timestamp-column"):
        split_temporal(interactions_of({1: {1, 2}, 2: {1}}), TemporalOptions())


def test_nothing_cannot_be_split() -> None:
    nothing = week().rows(np.array([], dtype=np.int64))
    with pytest.raises(InputError, match="no interactions"):
        split_temporal(nothing, TemporalOptions())


PARTS = ("train", "validation-given", "validation-held-out", "test-given", "test-held-out")


@pytest.mark.parametrize("name", PARTS)
def test_a_leak_is_noticed_wherever_it_is(name: str) -> None:
    split = split_temporal(week(), TemporalOptions(**FROM))  # type: ignore[arg-type] # mypy thinks of `new_users`
    part = split.parts[name]
    assert part.times is not None
    leaked = part.times.copy()
    # The first is moved to where no interaction of this part may be.
    leaked[0] = day(30) if name in ("train", "validation-given", "test-given") else day(1)
    parts = split.parts | {name: replace(part, times=leaked)}
    train, *halves = parts.values()
    folds = FoldIn(*halves[:2]), FoldIn(*halves[2:])
    with pytest.raises(ValueError, match=f"the times of {name} leak"):
        Split(train, *folds, split.description)

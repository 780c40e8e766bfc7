import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.splitting import (
    LeaveLastOutOptions,
    RandomOptions,
    Split,
    SplitOptions,
    split_by,
    split_leave_last_out,
    split_random,
)
from tests.splitting.histories import (
    TIMES,
    Pairs,
    Times,
    equal,
    history,
    ids_of,
    interactions_of,
    pairs,
    random_histories,
    timed,
)

SEEDS = st.integers(0, 2**32)
KINDS = st.one_of(
    st.builds(LeaveLastOutOptions, last=st.integers(1, 3), seed=SEEDS),
    st.builds(
        RandomOptions,
        held_out_share=st.sampled_from([0.2, 0.5]),
        validation_share=st.sampled_from([0.1, 0.4]),
        seed=SEEDS,
    ),
)


def split_or_pass(source: Interactions, options: SplitOptions) -> Split:
    """Split; data that are refused, because nobody can be judged, say nothing about the laws."""
    try:
        return split_by(source, options)
    except InputError:
        assume(False)
        raise


def parts_of(split: Split) -> tuple[Pairs, Pairs, Pairs]:
    return pairs(split.train), pairs(split.validation.held_out), pairs(split.test.held_out)


@given(TIMES, KINDS)
def test_the_parts_are_disjoint_and_with_what_is_counted_the_whole(
    times: Times, options: SplitOptions
) -> None:
    source = Interactions.from_frame(timed(times))
    split = split_or_pass(source, options)
    train, validation, test = parts_of(split)
    assert not train & validation
    assert not (train | validation) & test
    everything = train | validation | test
    assert everything <= pairs(source)
    dropped = pairs(source) - everything
    counts = split.description["counts"]
    assert len(dropped) == sum(
        counts[f"{name}_interactions_dropped_{why}"]
        for name in ("validation", "test")
        for why in ("unknown_item", "new_user")
    )
    # Nothing but items that nobody trains on is dropped: everybody keeps a history.
    catalogue = {item for _, item in train}
    assert set(ids_of(split.train.items)) == catalogue
    assert all(item not in catalogue for _, item in dropped)
    assert counts["validation_new_users"] == counts["test_new_users"] == 0


@given(TIMES, KINDS)
def test_everybody_trains_and_what_earlier_parts_hold_is_given(
    times: Times, options: SplitOptions
) -> None:
    split = split_or_pass(Interactions.from_frame(timed(times)), options)
    assert split.generalization == "weak"
    assert split.kind == options.kind
    assert ids_of(split.train.users) == sorted(times)
    train = history(split.train)
    held = history(split.validation.held_out)
    for user, shown in history(split.validation.given).items():
        assert shown == train[user]
        assert held[user]
    for user, shown in history(split.test.given).items():
        assert shown == train[user] | held.get(user, set())
    assert all(history(split.test.held_out).values())


@given(TIMES, KINDS, st.randoms())
@settings(max_examples=25)
def test_the_order_of_the_rows_does_not_matter(
    times: Times, options: SplitOptions, random: Any
) -> None:
    frame = timed(times)
    rows = list(range(len(frame)))
    random.shuffle(rows)
    one = split_or_pass(Interactions.from_frame(frame), options)
    other = split_by(Interactions.from_frame(frame.iloc[rows]), options)
    assert equal(one, other)
    assert one.description == other.description


@given(TIMES, KINDS)
def test_times_stay_with_their_interactions(times: Times, options: SplitOptions) -> None:
    split = split_or_pass(Interactions.from_frame(timed(times)), options)
    for part in split.parts.values():
        frame = part.frame()
        when = [times[u][i] for u, i in zip(frame["user"], frame["item"], strict=True)]
        assert frame["timestamp"].tolist() == when


@given(TIMES, st.integers(1, 3), SEEDS)
def test_what_is_held_out_came_last(times: Times, last: int, seed: int) -> None:
    source = Interactions.from_frame(timed(times))
    split = split_or_pass(source, LeaveLastOutOptions(last=last, seed=seed))
    train, validation, test = parts_of(split)

    def when(user: int, part: Pairs) -> list[int]:
        return [times[user][item] for one, item in part if one == user]

    few = 0
    for user, taken in times.items():
        if len(taken) < 2 * last + 1:
            few += 1
            assert len(when(user, train)) == len(taken)
            continue
        # Held-out items that nobody trains on are missing, but never an item of train.
        assert len(when(user, train)) == len(taken) - 2 * last
        assert len(when(user, validation)) <= last
        assert len(when(user, test)) <= last
        parts = [when(user, part) for part in (train, validation, test)]
        for earlier, later in ((0, 1), (0, 2), (1, 2)):
            assert max(parts[earlier], default=-9) <= min(parts[later], default=99)
    assert split.description["counts"]["users_with_too_few_to_be_judged"] == few


def test_leave_last_out_of_three_users() -> None:
    rows = [
        # Ann: items 1, 2, 3, 4 in that order.
        ("ann", 1, 10), ("ann", 2, 20), ("ann", 3, 30), ("ann", 4, 40),
        # Bob in the opposite order.
        ("bob", 4, 10), ("bob", 3, 20), ("bob", 2, 30), ("bob", 1, 40),
        # Cy has two: they train.
        ("cy", 3, 5), ("cy", 1, 6),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    split = split_leave_last_out(Interactions.from_frame(frame), LeaveLastOutOptions())
    assert history(split.train) == {"ann": {1, 2}, "bob": {3, 4}, "cy": {1, 3}}
    assert history(split.validation.held_out) == {"ann": {3}, "bob": {2}}
    assert history(split.test.given) == {"ann": {1, 2, 3}, "bob": {2, 3, 4}}
    assert history(split.test.held_out) == {"ann": {4}, "bob": {1}}
    counts = split.description["counts"]
    assert counts["users_with_too_few_to_be_judged"] == 1
    assert counts["users_with_ties_at_a_cut"] == 0


def test_an_item_that_only_the_last_ones_took_is_dropped_and_counted() -> None:
    rows = [(u, i, i) for u in range(5) for i in (1, 2, 3, 4)]
    rows += [
        (9, 1, 1),
        (9, 2, 2),
        (9, 3, 3),
        (9, 77, 4),
        (8, 1, 1),
        (8, 3, 2),
        (8, 4, 3),
        (8, 2, 4),
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "timestamp"])
    split = split_leave_last_out(Interactions.from_frame(frame), LeaveLastOutOptions())
    # In training are items 1 and 2, and 3 from user 8; of the tests 4 (five times) and 77 are lost.
    assert ids_of(split.train.items) == [1, 2, 3]
    counts = split.description["counts"]
    assert counts["test_interactions_dropped_unknown_item"] == 6
    assert counts["test_users_dropped_unknown_items"] == 6
    assert history(split.test.held_out) == {8: {2}}


def test_ties_are_broken_by_the_seed_and_counted() -> None:
    frame = pd.DataFrame({"user": np.repeat(np.arange(300), 3), "item": [1, 2, 3] * 300})
    frame["timestamp"] = 5
    frame.loc[0:2, "timestamp"] = [1, 2, 3]  # user 0 alone has no ties
    source = Interactions.from_frame(frame)
    one, other = (split_leave_last_out(source, LeaveLastOutOptions(seed=s)) for s in (1, 2))
    assert not equal(one, other)
    assert one.description["counts"]["users_with_ties_at_a_cut"] == 299
    assert history(one.test.held_out)[0] == {3}
    # Each of three items comes last with chance 1/3; five standard errors of a share of 299.
    shares = np.asarray(one.test.held_out.matrix.mean(axis=0)).ravel()
    assert np.abs(shares - 1 / 3).max() < 5 * math.sqrt(2 / 9 / 299)


@pytest.mark.parametrize(("n_items", "tested", "validated"), [(4, 0, 0), (5, 1, 0), (10, 2, 1)])
def test_a_random_share_is_rounded_down(n_items: int, tested: int, validated: int) -> None:
    histories = {user: set(range(20)) for user in range(100, 130)} | {1: set(range(n_items))}
    split = split_random(interactions_of(histories), RandomOptions())
    assert len(history(split.test.held_out).get(1, set())) == tested
    assert len(history(split.validation.held_out).get(1, set())) == validated
    assert len(history(split.train)[1]) == n_items - tested - validated
    assert split.description["counts"]["users_with_too_few_to_be_judged"] == (n_items < 5)


def test_random_items_are_drawn_evenly_for_both_parts() -> None:
    source = interactions_of({user: set(range(20)) for user in range(2_000)})
    split = split_random(source, RandomOptions())
    for fold, share in ((split.test, 0.2), (split.validation, 0.1)):
        shares = np.asarray(fold.held_out.matrix.mean(axis=0)).ravel()
        # Five standard errors of a share among 2,000 users.
        assert np.abs(shares - share).max() < 5 * math.sqrt(share * (1 - share) / 2_000)


def test_random_items_depend_on_the_user_and_not_on_the_company() -> None:
    histories = random_histories(users=60)
    whole = split_random(interactions_of(histories), RandomOptions())
    fewer = {user: items for user, items in histories.items() if user % 3}
    part = split_random(interactions_of(fewer), RandomOptions())
    expected = history(whole.test.held_out)
    assert history(part.test.held_out) == {u: expected[u] for u in fewer if u in expected}


@pytest.mark.parametrize("kind", [LeaveLastOutOptions, RandomOptions])
def test_the_seed_decides(kind: type[LeaveLastOutOptions] | type[RandomOptions]) -> None:
    frame = pd.DataFrame(
        [(user, item, 0) for user, items in random_histories().items() for item in items],
        columns=["user", "item", "timestamp"],
    )
    source = Interactions.from_frame(frame)
    one, again, other = (split_by(source, kind(seed=seed)) for seed in (1, 1, 2))
    assert equal(one, again)
    assert not equal(one, other)


def test_without_times_there_is_no_last() -> None:
    with pytest.raises(InputError, match=r"leave-last-out .*--timestamp-column"):
        split_leave_last_out(interactions_of(random_histories()), LeaveLastOutOptions())


def test_histories_too_short_for_the_last_are_refused() -> None:
    source = Interactions.from_frame(timed({1: {1: 1, 2: 2}, 2: {1: 1, 2: 2}}))
    with pytest.raises(InputError, match="no user has the 3 interactions that --last 1"):
        split_leave_last_out(source, LeaveLastOutOptions())


def test_histories_too_short_for_a_share_are_refused() -> None:
    source = interactions_of({user: set(range(9)) for user in range(3)})
    with pytest.raises(InputError, match=r"--validation-share 0\.1 is less than one item"):
        split_random(source, RandomOptions())


def test_held_out_items_that_nobody_trains_on_leave_nobody() -> None:
    source = Interactions.from_frame(timed({u: {10 * u + n: n for n in range(4)} for u in (1, 2)}))
    with pytest.raises(InputError, match="nobody is left for validation"):
        split_leave_last_out(source, LeaveLastOutOptions())


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"held_out_share": 0.0}, "--held-out-share 0.0"),
        ({"validation_share": 1.0}, "--validation-share 1.0"),
        ({"validation_share": float("nan")}, "--validation-share nan"),
        ({"held_out_share": 0.7, "validation_share": 0.3}, "leave nothing to learn from"),
    ],
)
def test_shares_that_are_none_are_refused(values: dict[str, float], option: str) -> None:
    with pytest.raises(InputError, match=option):
        RandomOptions(**values)  # type: ignore[arg-type] # mypy thinks of the seed, too


def test_holding_out_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="--last 0"):
        LeaveLastOutOptions(last=0)

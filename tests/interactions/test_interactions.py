from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap, Interactions

# Quarters are exact in float32, so that values can be compared without a tolerance.
ROW = st.tuples(
    st.sampled_from("abcdé"), st.integers(0, 6), st.integers(-8, 8).map(lambda n: n / 4)
)
ROWS = st.lists(ROW, min_size=1, max_size=40)
Row = tuple[str, int, float]


def frame_of(rows: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user", "item", "value"])


@given(ROWS)
@settings(deadline=None)
def test_the_matrix_holds_the_largest_value_of_each_pair(rows: list[Row]) -> None:
    interactions = Interactions.from_frame(frame_of(rows))
    expected: dict[tuple[str, int], float] = {}
    for user, item, value in rows:
        expected[user, item] = max(value, expected.get((user, item), -np.inf))
    found = interactions.frame()
    triples = zip(found["user"], found["item"], found["value"], strict=True)
    assert {(user, item): value for user, item, value in triples} == expected
    assert len(interactions) == len(expected)


@given(ROWS, st.randoms())
@settings(deadline=None)
def test_nothing_depends_on_the_order_of_the_rows(rows: list[Row], random: Any) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = (
        Interactions.from_frame(frame_of(rows)),
        Interactions.from_frame(frame_of(shuffled)),
    )
    assert one.fingerprint == other.fingerprint
    assert (one.matrix != other.matrix).nnz == 0


@given(ROWS, ROWS)
@settings(deadline=None)
def test_fingerprints_are_equal_exactly_when_everything_is(one: list[Row], two: list[Row]) -> None:
    first, second = Interactions.from_frame(frame_of(one)), Interactions.from_frame(frame_of(two))
    same = first.frame().equals(second.frame())
    assert (first.fingerprint == second.fingerprint) == same


@given(ROWS, st.sets(st.integers(0, 6), min_size=1))
@settings(deadline=None)
def test_rows_with_unknown_items_are_left_out_and_counted(rows: list[Row], known: set[int]) -> None:
    interactions = Interactions.from_frame(frame_of(rows), items=IdMap.of(list(known)))
    assert interactions.n_unknown == sum(item not in known for _, item, _ in rows)
    assert len(interactions) == len({(u, i) for u, i, _ in rows if i in known})
    # Users stay, even those that are left without a known item.
    assert interactions.users.index.tolist() == sorted({user for user, _, _ in rows})
    assert interactions.matrix.shape == (len(interactions.users), len(known))


@given(ROWS, st.data())
@settings(deadline=None)
def test_a_choice_of_users_keeps_their_rows_and_all_items(rows: list[Row], data: Any) -> None:
    interactions = Interactions.from_frame(frame_of(rows))
    numbers = data.draw(st.lists(st.integers(0, len(interactions.users) - 1), unique=True))
    chosen = interactions.rows(np.array(numbers, dtype=np.int64))
    everything = interactions.frame()
    users = set(interactions.users.ids(numbers).tolist())
    expected = everything[everything["user"].isin(users)].reset_index(drop=True)
    assert chosen.users.index.tolist() == sorted(users)
    assert chosen.items.fingerprint == interactions.items.fingerprint
    assert chosen.frame().to_dict("list") == expected.to_dict("list")


TIMED = st.lists(st.tuples(ROW, st.integers(-3, 3)), min_size=1, max_size=40)


def timed(rows: list[tuple[Row, int]]) -> Interactions:
    frame = frame_of([row for row, _ in rows])
    return Interactions.from_frame(frame.assign(timestamp=[time for _, time in rows]))


def as_rows(interactions: Interactions) -> list[tuple[Any, ...]]:
    assert interactions.times is not None
    return list(interactions.frame().itertuples(index=False, name=None))


@given(TIMED, st.randoms())
@settings(deadline=None)
def test_of_a_repeated_pair_the_largest_value_counts_and_then_the_latest_time(
    rows: list[tuple[Row, int]], random: Any
) -> None:
    expected: dict[tuple[str, int], tuple[float, int]] = {}
    for (user, item, value), time in rows:
        expected[user, item] = max((value, time), expected.get((user, item), (value, time)))
    found = as_rows(timed(rows))
    assert {(u, i): (v, t) for u, i, v, t in found} == expected
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert as_rows(timed(shuffled)) == found


@given(TIMED, st.data())
@settings(deadline=None)
def test_times_stay_with_their_interactions(rows: list[tuple[Row, int]], data: Any) -> None:
    whole = timed(rows)
    everything = as_rows(whole)
    users = data.draw(st.sets(st.integers(0, len(whole.users) - 1)))
    items = data.draw(st.sets(st.integers(0, len(whole.items) - 1)))
    chosen = data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole)))
    kept_users = set(whole.users.ids(list(users)))
    kept_items = set(whole.items.ids(list(items)))

    by_user = whole.rows(np.array(list(users), dtype=np.int64))
    assert as_rows(by_user) == [row for row in everything if row[0] in kept_users]
    assert len(by_user.users) == len(users)
    by_item = whole.columns(np.array(list(items), dtype=np.int64))
    assert as_rows(by_item) == [row for row in everything if row[1] in kept_items]
    assert by_item.matrix.shape == (len(whole.users), len(items))
    some = whole.where(np.array(chosen))
    assert as_rows(some) == [row for row, yes in zip(everything, chosen, strict=True) if yes]
    assert some.matrix.shape == whole.matrix.shape


def test_times_of_rows_with_unknown_items_are_left_out_too() -> None:
    frame = pd.DataFrame({"user": [1, 1, 1], "item": [5, 6, 7], "timestamp": [50, 60, 70]})
    known = Interactions.from_frame(frame, items=IdMap.of([5, 7]))
    assert as_rows(known) == [(1, 5, 1.0, 50), (1, 7, 1.0, 70)]
    assert known.n_unknown == 1


@pytest.mark.parametrize(
    "times",
    [[1.0, 2.0], pd.to_datetime(["2020-01-01", "2020-01-02"]), ["1", "2"],
     pd.array([1, None], dtype="Int64")],
)  # fmt: skip
def test_times_that_are_no_integers_are_refused(times: Any) -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "timestamp": times})
    with pytest.raises(InputError, match=r"'timestamp' must hold integers.* milliseconds"):
        Interactions.from_frame(frame)


@pytest.mark.parametrize("times", [np.zeros(2, dtype=np.int64), np.zeros(1), np.int64(1)])
def test_times_that_do_not_fit_the_matrix_are_refused(times: Any) -> None:
    one = IdMap.of([1])
    matrix = csr_array(np.ones((1, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="times must be one int64 for each of 1 stored"):
        Interactions(one, one, matrix, times=times)


def test_without_values_every_interaction_weighs_one() -> None:
    frame = pd.DataFrame({"user": ["u", "v", "u", "u"], "item": [7, 7, 9, 9]})
    assert Interactions.from_frame(frame).matrix.toarray().tolist() == [[1, 1], [1, 0]]


def test_a_zero_is_an_interaction_too() -> None:
    frame = pd.DataFrame({"user": ["u"], "item": [7], "value": [0.0]})
    assert len(Interactions.from_frame(frame)) == 1


def test_the_matrix_is_single_precision_and_sorted() -> None:
    frame = pd.DataFrame({"user": [1, 1, 1], "item": [9, 3, 5]})
    matrix = Interactions.from_frame(frame).matrix
    assert matrix.dtype == np.float32
    assert matrix.indices.tolist() == [0, 1, 2]


@pytest.mark.parametrize("column", ["user", "item"])
def test_a_missing_column_is_named(column: str) -> None:
    frame = pd.DataFrame({"user": [1], "item": [1]}).drop(columns=column)
    with pytest.raises(InputError, match=f"no column '{column}'"):
        Interactions.from_frame(frame)


@pytest.mark.parametrize("column", ["user", "item"])
def test_mixed_ids_are_refused(column: str) -> None:
    frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"]}).astype(object)
    frame.loc[1, column] = 3
    with pytest.raises(InputError, match="all strings or all integers"):
        Interactions.from_frame(frame)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    frame = pd.DataFrame({"user": [1, 2], "item": [1, 2], "value": [1.0, value]})
    with pytest.raises(ValueError, match="finite"):
        Interactions.from_frame(frame)


def csr(data: list[float], indices: list[int], indptr: list[int], kind: str = "f4") -> csr_array:
    return csr_array((np.array(data, dtype=kind), indices, indptr), shape=(len(indptr) - 1, 3))


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (csr([1, 1], [0, 1], [0, 2]), "does not fit"),
        (csr([1, 1], [0, 1], [0, 1, 2], "f8"), "float32"),
        (csr([1, 1], [1, 0], [0, 2, 2]), "sorted"),
        (csr([1, 1], [1, 1], [0, 2, 2]), "without repeats"),
        (csr([1, np.nan], [0, 1], [0, 1, 2]), "finite"),
    ],
)
def test_a_matrix_that_breaks_a_promise_is_refused(matrix: csr_array, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Interactions(IdMap.of([1, 2]), IdMap.of([1, 2, 3]), matrix)

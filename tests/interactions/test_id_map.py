from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.interactions.id_map import as_ids

INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)
TEXTS = st.lists(st.text(), min_size=1)  # any Unicode, the empty text and NUL included
IDS = st.one_of(INTEGERS, TEXTS)


@given(IDS)
@settings(deadline=None)
def test_ids_survive_the_way_to_numbers_and_back(values: list[Any]) -> None:
    ids = IdMap.of(values)
    assert ids.ids(ids.numbers(values)).tolist() == values


@given(IDS)
@settings(deadline=None)
def test_numbers_are_the_places_in_the_sorted_distinct_ids(values: list[Any]) -> None:
    assert IdMap.of(values).ids(range(len(set(values)))).tolist() == sorted(set(values))


@given(IDS, st.randoms())
@settings(deadline=None)
def test_the_map_does_not_depend_on_the_order_of_the_ids(values: list[Any], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert IdMap.of(shuffled).fingerprint == IdMap.of(values).fingerprint


@given(IDS, IDS)
@settings(deadline=None)
def test_fingerprints_are_equal_exactly_when_the_ids_are(one: list[Any], other: list[Any]) -> None:
    same = set(one) == set(other)
    assert (IdMap.of(one).fingerprint == IdMap.of(other).fingerprint) == same


def test_fingerprints_tell_texts_apart_that_read_the_same_when_joined() -> None:
    assert IdMap.of(["a", "bc"]).fingerprint != IdMap.of(["ab", "c"]).fingerprint


def test_fingerprints_tell_integers_from_their_text() -> None:
    assert IdMap.of([1, 2]).fingerprint != IdMap.of(["1", "2"]).fingerprint


@given(IDS)
@settings(deadline=None)
def test_ids_survive_arrow(values: list[Any]) -> None:
    ids = IdMap.of(values)
    again = IdMap.from_arrow(ids.to_arrow())
    assert again.fingerprint == ids.fingerprint
    assert again.kind == ids.kind
    assert again.numbers(values).tolist() == ids.numbers(values).tolist()


@given(INTEGERS)
@settings(deadline=None)
def test_decimal_text_is_understood_where_ids_are_integers(values: list[int]) -> None:
    ids = IdMap.of(values)
    assert ids.numbers([str(i) for i in values]).tolist() == ids.numbers(values).tolist()


@given(INTEGERS)
@settings(deadline=None)
def test_integers_are_understood_where_ids_are_texts(values: list[int]) -> None:
    ids = IdMap.of([str(i) for i in values])
    assert ids.ids(ids.numbers(values)).tolist() == [str(i) for i in values]


@pytest.mark.parametrize(
    "text", ["007", "+7", " 7", "7.0", "\u0667", "", "-", "7e0", "x", "9" * 25]
)
def test_only_the_canonical_spelling_is_the_same_integer(text: str) -> None:
    assert IdMap.of([7, -7]).numbers([text, "7", "-7"], missing="mark").tolist() == [-1, 1, 0]


@pytest.mark.parametrize("text", ["--7", "---", "9" * 5_000])
def test_text_that_python_cannot_read_as_a_number_is_merely_unknown(text: str) -> None:
    ids = IdMap.of([7])
    assert ids.numbers([text], missing="mark").tolist() == [-1]
    with pytest.raises(InputError):
        ids.numbers([text])


def test_texts_that_look_like_one_number_stay_apart() -> None:
    ids = IdMap.of(["7", "007"])
    assert ids.ids(ids.numbers([7])).tolist() == ["7"]


@pytest.mark.parametrize(
    "values",
    [
        ["a", 1],
        ("a", 1),
        ["a", None],
        [1, None],
        [None, None],
        [1.0, 2.0],
        [float("nan"), 1],
        [True, False],
        [b"a"],
        pd.Series([1, None], dtype="Int64"),
        pd.Series(["a", None], dtype="string"),
        pd.Series(pd.to_datetime(["2020-01-01"])),
        [2**63],
        [2**70, 1],
        np.array([2**63], dtype=np.uint64),
    ],
    ids=repr,
)
def test_what_is_no_id_is_refused_in_one_sentence(values: Any) -> None:
    with pytest.raises(InputError, match=r"^ids must") as caught:
        as_ids(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["uint8", "int32", "uint64"])
def test_every_integer_type_gives_the_same_ids(kind: str) -> None:
    ids = as_ids(np.array([3, 1], dtype=kind))
    assert ids.dtype == np.int64
    assert ids.tolist() == [3, 1]


def test_unknown_ids_are_counted_and_the_first_is_named() -> None:
    with pytest.raises(InputError, match="2 of 3 ids are unknown, the first is 'x'"):
        IdMap.of(["a"]).numbers(["a", "x", "y"])


@pytest.mark.parametrize("numbers", [[-1], [2], [0, 7]])
def test_numbers_beyond_the_map_are_refused(numbers: list[int]) -> None:
    with pytest.raises(IndexError):
        IdMap.of([5, 6]).ids(numbers)


@pytest.mark.parametrize("values", [[], np.array([], dtype=object), pd.Series([], dtype="str")])
def test_a_map_without_ids_is_a_map(values: Any) -> None:
    ids = IdMap.of(values)
    assert len(ids) == 0
    assert ids.numbers([1], missing="mark").tolist() == [-1]
    assert IdMap.from_arrow(ids.to_arrow()).fingerprint == ids.fingerprint


@given(st.one_of(st.sets(st.integers(-9, 99)), st.sets(st.text())), st.data())
def test_some_of_the_ids_are_numbered_anew(values: set[int] | set[str], data: Any) -> None:
    ids = IdMap.of(list(values))
    places = st.integers(0, max(0, len(ids) - 1))
    numbers = sorted(data.draw(st.sets(places))) if len(ids) else []
    some = ids.take(np.array(numbers, dtype=np.int64))
    assert some.kind == ids.kind
    assert some.ids(range(len(some))).tolist() == ids.ids(numbers).tolist()
    assert some.numbers(some.ids(range(len(some)))).tolist() == list(range(len(some)))

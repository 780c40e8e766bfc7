import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.splitting.draws import id_keys, order_within_users, pair_noise
from tests.splitting.histories import TIMES, Times, ids_of, interactions_of, timed


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        ([-1, 0, 7], [4116571186481283141, 16560406654041627187, 13535686907430810437]),
        (["", "a", "ä"], [9503307691746572508, 5412054397884547884, 8133704006990374979]),
    ],
)
def test_keys_are_the_same_on_every_machine(ids: list[int] | list[str], keys: list[int]) -> None:
    # As first computed: another library or processor that gives others would change every split.
    assert id_keys(IdMap.of(ids), seed=98765).tolist() == keys


@given(
    st.one_of(st.sets(st.integers(-(2**62), 2**62)), st.sets(st.text())),
    st.integers(-(2**63), 2**64),
)
def test_a_key_depends_on_the_id_and_the_seed_alone(ids: set[int] | set[str], seed: int) -> None:
    everyone = IdMap.of(list(ids))
    keys = id_keys(everyone, seed)
    assert keys.dtype == np.uint64
    assert len(set(keys.tolist())) == len(ids)
    for one, key in zip(ids_of(everyone), keys, strict=True):
        assert id_keys(IdMap.of([one]), seed)[0] == key
        assert id_keys(IdMap.of([one]), seed + 1)[0] != key


def test_every_bit_of_a_key_is_a_coin() -> None:
    keys = id_keys(IdMap.of(np.arange(20_000)), seed=1)
    ones = ((keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(axis=0)
    # Five standard errors of a share among 20,000.
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(20_000)


@given(TIMES, st.integers(0, 9), st.booleans())
def test_interactions_are_sorted_within_their_user(times: Times, seed: int, far: bool) -> None:
    frame = timed(times)
    if far:  # spans more bits than fit beside the user's number
        frame["timestamp"] = np.where(frame["timestamp"] < 3, -(2**62), 2**62) + frame["timestamp"]
    source = Interactions.from_frame(frame)
    assert source.times is not None
    noise = pair_noise(source, seed)
    order, places = order_within_users(source, source.times, noise)
    rows = source.row_numbers
    expected = sorted(range(len(source)), key=lambda n: (rows[n], source.times[n], noise[n]))  # type: ignore[index] # not None, as asserted
    assert order.tolist() == expected
    begins = source.matrix.indptr
    assert [order[begins[rows[n]] + place] for n, place in enumerate(places)] == list(
        range(len(source))
    )


def test_the_places_of_nothing() -> None:
    nothing = interactions_of({1: {1}}).rows(np.array([], dtype=np.int64))
    order, places = order_within_users(nothing, pair_noise(nothing, 0))
    assert len(order) == len(places) == 0

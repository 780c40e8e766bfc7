from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.ingest import sketches
from recsys_vae.ingest.drift import jensen_shannon
from recsys_vae.ingest.sketches import IdSample, TopItems, keys_of, largest, unpack
from recsys_vae.interactions import IdMap

IDS = st.sets(st.integers(0, 60))


def sample(ids: set[int] | range) -> IdSample:
    return IdSample.of(keys_of(IdMap.of(np.array(list(ids), dtype=np.int64))))


def top(counts: dict[int, int]) -> TopItems:
    ids = IdMap.of(np.array(list(counts), dtype=np.int64))
    return TopItems.of(np.array([counts[one] for one in ids.index], dtype=np.int64), keys_of(ids))


def test_keys_are_the_same_on_every_machine_and_in_every_version() -> None:
    # Profiles are compared across years: another hash would make every id new and gone.
    keys = keys_of(IdMap.of(["item-1", "ä"]))
    assert [f"{key:016x}" for key in keys] == ["525d08c91857cd64", "37d06cbb35d36ecc"]


def test_integers_and_their_text_are_one_id() -> None:
    assert (keys_of(IdMap.of([7, -12])) == keys_of(IdMap.of([-12, 7]))).all()
    assert set(keys_of(IdMap.of([7, -12]))) == set(keys_of(IdMap.of(["7", "-12"])))
    assert len(keys_of(IdMap.of(np.zeros(0, dtype=np.int64)))) == 0


@given(IDS, IDS)
def test_a_whole_sample_tells_the_share_exactly(one: set[int], other: set[int]) -> None:
    share, exact = sample(one).share_outside(sample(other))
    assert exact
    expected = len(one - other) / len(one) if one else 0.0
    assert share == pytest.approx(expected, abs=1e-15)  # one division and one subtraction


def test_a_bounded_sample_estimates_the_share() -> None:
    one, other = sample(range(50_000)), sample(range(10_000, 90_000))
    share, exact = one.share_outside(other)
    assert not exact
    # About 4096 * 5/8 ids can be judged: four standard deviations of a share of 0.2 among 2560.
    assert share == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / 2560) ** 0.5)
    assert one.share_outside(one) == (0.0, False)


def test_a_few_ids_beside_very_many_may_be_beyond_judgement() -> None:
    many = sample(range(100_000))
    # The key of 0 is not among the smallest 4096 of 100,000: nothing is known of it.
    assert sample({0}).share_outside(many) == (None, False)
    assert sample(set()).share_outside(many) == (0.0, False)


@given(st.dictionaries(st.integers(0, 40), st.integers(0, 5)), st.randoms(), st.integers(1, 10))
def test_the_largest_are_found_whatever_the_order(
    counts: dict[int, int], random: Any, most: int
) -> None:
    places = random.sample(list(counts), len(counts))
    values = np.array([counts[key] for key in places], dtype=np.int64)
    keys = np.array(places, dtype=np.uint64)
    expected = sorted((-count, key) for key, count in counts.items() if count > 0)[:most]
    found = largest(values, keys, most)
    assert [(-values[one], keys[one]) for one in found] == expected


@given(
    st.dictionaries(st.integers(0, 30), st.integers(0, 9), min_size=1),
    st.dictionaries(st.integers(0, 30), st.integers(0, 9), min_size=1),
    st.integers(1, 12),
)
def test_a_bounded_top_gives_a_lower_bound_of_the_distance(
    one: dict[int, int], other: dict[int, int], kept: int
) -> None:
    items = sorted(one | other)
    full = [np.array([side.get(item, 0) for item in items]) for side in (one, other)]
    distance, _ = jensen_shannon(*full)
    whole_one, whole_other, exact = top(one).aligned(top(other))
    assert exact
    rounding = 1e-7  # the square root of float64's
    assert jensen_shannon(whole_one, whole_other)[0] == pytest.approx(distance, abs=rounding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "TOP", kept)
        few_one, few_other, _ = top(one).aligned(top(other))
    assert (few_one.sum(), few_other.sum()) == (sum(one.values()), sum(other.values()))
    if distance is not None:
        bound = jensen_shannon(few_one, few_other)[0]
        assert bound is not None
        assert bound <= distance + rounding


def test_packed_numbers_come_back() -> None:
    made = top({3: 5, 4: 2**40})
    assert unpack(made.counts).tolist() == [2**40, 5]
    assert made.rest == 0

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.ingest.counts import Counts

COUNTS = st.lists(st.integers(0, 10**6), max_size=60)


def counts_of(values: list[int]) -> Counts:
    return Counts.of(np.array(values, dtype=np.int64))


@given(COUNTS, st.randoms())
def test_who_has_which_count_does_not_matter(values: list[int], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert counts_of(values) == counts_of(shuffled)


@given(COUNTS)
def test_each_one_lies_in_the_bin_of_its_count(values: list[int]) -> None:
    counts = counts_of(values)
    assert sum(counts.histogram) == counts.number == len(values)
    for start, number in zip(counts.histogram_from, counts.histogram, strict=True):
        assert number == sum(start <= value < max(1, 2 * start) for value in values)


@given(COUNTS)
def test_the_curve_rises_from_0_to_1_above_the_diagonal_and_bends_down(values: list[int]) -> None:
    counts = counts_of(values)
    top, held = np.array(counts.top), np.array(counts.held)
    assert (held[0], held[-1]) == (0.0, 1.0)
    assert (np.diff(held) >= 0).all()
    rounding = 1e-12  # a few dozen float64 roundings of numbers up to 1
    assert (held >= top - rounding).all()
    slopes = np.diff(held) / np.diff(top)
    # Differences of numbers up to 1, divided by steps down to 0.001.
    assert (np.diff(slopes) <= rounding / 1e-3).all()


def test_gini_and_curve_of_four_items_by_hand() -> None:
    counts = counts_of([1, 6, 0, 3])
    # (2i - 5) x over ascending 0, 1, 3, 6: -3*0 - 1*1 + 1*3 + 3*6 = 20; 20 / (4 * 10)
    assert counts.gini == 0.5
    assert [counts.held_by(share) for share in (0.25, 0.5, 0.75, 1)] == [0.6, 0.9, 1.0, 1.0]
    assert (counts.mean, counts.none, counts.one, counts.total) == (2.5, 1, 1, 10)
    assert counts.quantiles["50%"] == (1 + 3) / 2
    assert (counts.quantiles["min"], counts.quantiles["max"]) == (0, 6)
    assert (counts.histogram_from, counts.histogram) == ((0, 1, 2, 4), (1, 1, 1, 1))


@given(st.integers(1, 10**6), st.integers(1, 50))
def test_equal_counts_are_the_diagonal_with_gini_0(count: int, number: int) -> None:
    counts = counts_of([count] * number)
    assert counts.gini == 0
    assert counts.held == pytest.approx(counts.top, abs=1e-12)  # rounding


@pytest.mark.parametrize("number", [1, 2, 1000, 10**6])
def test_gini_tends_to_1_where_one_has_all(number: int) -> None:
    counts = counts_of([0] * (number - 1) + [7])
    assert counts.gini == pytest.approx(1 - 1 / number, rel=1e-15)  # one division
    assert counts.held_by(0.2) == pytest.approx(min(1.0, 0.2 * number))  # within that one: linear


@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(1, 9))
def test_gini_and_curve_know_only_proportions(values: list[int], factor: int) -> None:
    one, other = counts_of(values), counts_of([value * factor for value in values])
    assert one.gini == pytest.approx(other.gini, abs=1e-15)  # exact integers, one division
    assert one.held == pytest.approx(other.held, abs=1e-12)  # rounding of the interpolation


def test_nobody_and_nothing() -> None:
    for values in ([], [0], [0, 0]):
        counts = counts_of(values)
        assert (counts.gini, counts.mean, counts.total) == (0, 0, 0)
        assert counts.held == counts.top
        assert counts.histogram == (len(values),)
        assert set(counts.quantiles.values()) == {0.0}

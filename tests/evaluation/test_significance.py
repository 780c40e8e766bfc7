"""Paired tests against exact enumeration and SciPy, and against what chance gives."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, kstest, permutation_test

from recsys_vae.evaluation.significance import differences, holm, randomisation_p

NAN = float("nan")


def test_p_is_that_of_all_sign_patterns() -> None:
    values = np.array([0.3, -0.1, 0.2, 0.25, 0.05, -0.02, 0.4, 0.15])
    patterns = np.array(list(product([1, -1], repeat=len(values))))
    far = np.abs(patterns @ values) >= abs(values.sum()) - 1e-12
    # 50,000 rounds: a standard deviation of p of at most sqrt(.25 / 50,000) = .0022
    found = randomisation_p(values[:, None], rounds=50_000)[0]
    assert found == pytest.approx(far.mean(), abs=4 * 0.0022)


def test_p_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(40), rng.random(40) - 0.08
    expected = permutation_test(
        (one, other),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=rng,
    ).pvalue
    found = randomisation_p((one - other)[:, None], rounds=20_000)[0]
    # Both are drawn: each has a standard deviation of at most .0035.
    assert found == pytest.approx(expected, abs=0.02)


def test_p_is_uniform_where_there_is_no_difference() -> None:
    values = np.random.default_rng(1).standard_normal((200, 400))
    p = randomisation_p(values, rounds=999)
    # 400 independent pairs; the seed is fixed, so the test cannot flicker.
    assert kstest(p, "uniform").pvalue > 0.01


def test_no_difference_at_all_is_p_1_and_the_smallest_p_is_known() -> None:
    assert randomisation_p(np.zeros((30, 1)), rounds=99)[0] == 1.0
    assert randomisation_p(np.ones((60, 1)), rounds=99)[0] == 1 / 100


def test_p_does_not_depend_on_the_other_pairs() -> None:
    values = np.random.default_rng(2).standard_normal((50, 3)) + 0.2
    together = randomisation_p(values, rounds=500)
    alone = [randomisation_p(values[:, [n]], rounds=500)[0] for n in range(3)]
    assert together.tolist() == alone


def test_holm_in_visible_arithmetic() -> None:
    # sorted: .01 x 4, .02 x 3, .03 x 2, .9 x 1
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(
    p: list[float],
) -> None:
    corrected = holm(p)
    for before, after in zip(p, corrected, strict=True):
        assert before <= after <= min(1.0, before * len(p)) * (1 + 1e-12)
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()
    # Controlling the share of false discoveries asks for less.
    assert (np.array(corrected) >= false_discovery_control(p) - 1e-12).all()


def test_a_difference_counts_users_and_measures_the_effect() -> None:
    one = np.array([0.5, 0.4, 0.3, NAN, 0.2])
    other = np.array([0.1, 0.4, 0.4, 0.9, 0.0])
    (found,) = differences([(one, other)], rounds=200)
    away = np.array([0.4, 0.0, -0.1, 0.2])
    assert (found.wins, found.losses, found.users) == (2, 1, 4)
    assert found.mean == pytest.approx(away.mean())
    assert found.effect == pytest.approx(away.mean() / away.std(ddof=1))
    assert found.low <= found.mean <= found.high


def test_swapped_models_have_the_opposite_difference_and_the_same_p() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.random(80), rng.random(80)
    first, second = differences([(one, other), (other, one)], rounds=300)
    assert first.mean == pytest.approx(-second.mean)
    assert first.p == second.p
    assert (first.wins, first.losses) == (second.losses, second.wins)
    assert first.low == pytest.approx(-second.high)


def test_extremes() -> None:
    nobody = np.array([NAN, NAN])
    (found,) = differences([(nobody, nobody)], rounds=9)
    assert found.users == 0
    assert math.isnan(found.mean)
    (same,) = differences([(np.ones(3), np.ones(3))], rounds=9)
    assert (same.effect, same.p) == (0.0, 1.0)
    (always,) = differences([(np.ones(3), np.zeros(3))], rounds=9)
    assert always.effect == math.inf
    assert differences([]) == []


def test_what_could_not_be_tested_neither_counts_nor_is_corrected() -> None:
    corrected = holm([0.04, NAN, 0.01])
    assert corrected[::2] == pytest.approx([0.04, 0.02])
    assert math.isnan(corrected[1])


def test_rounding_is_no_difference() -> None:
    one = np.full(20, np.mean([0.1, 0.2, 0.3]))
    other = np.full(20, np.mean([0.3, 0.2, 0.1]))
    assert not np.array_equal(one, other)
    (order,) = differences([(one, other)], rounds=999)
    assert (order.mean, order.effect, order.p) == (0.0, 0.0, 1.0)
    third = np.full(3, (0.1 + 0.1 + 0.1) / 3)
    (found,) = differences([(third, np.full(3, 0.1))], rounds=9)
    assert (found.wins, found.losses) == (0, 0)
    (always,) = differences([(np.array([0.7, 0.4, 0.2]), np.array([0.6, 0.3, 0.1]))], rounds=9)
    assert always.effect == math.inf

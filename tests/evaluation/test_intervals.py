import numpy as np
import pytest

from recsys_vae.evaluation.intervals import bootstrap


def test_nineteen_intervals_in_twenty_hold_the_true_mean() -> None:
    rng = np.random.default_rng(1)
    trials = 400
    covered = 0
    for trial in range(trials):
        estimate = bootstrap(rng.normal(0.3, 0.2, size=100), seed=trial, resamples=500)
        covered += estimate.low <= 0.3 <= estimate.high
    # The percentile interval of 100 normal values covers 94 %; four standard errors of a share
    # among 400 trials are 4 * sqrt(0.94 * 0.06 / 400) = 0.047.
    assert abs(covered / trials - 0.94) < 0.047


def test_the_interval_has_the_width_of_the_normal_one() -> None:
    values = np.random.default_rng(2).normal(size=2_500)
    estimate = bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(2_500)
    # Quantiles of 2,000 resampled means vary by about 3 % of the half width; allow four times that.
    assert estimate.high - estimate.mean == pytest.approx(half, rel=0.12)
    assert estimate.mean - estimate.low == pytest.approx(half, rel=0.12)


def test_the_mean_lies_within_its_interval_and_is_that_of_the_judged_users() -> None:
    values = np.array([0.0, 1.0, np.nan, 0.5, np.nan])
    estimate = bootstrap(values)
    assert estimate.mean == (0.0 + 1.0 + 0.5) / 3
    assert estimate.low <= estimate.mean <= estimate.high
    assert (estimate.users, estimate.left_out) == (3, 2)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(3).random(50)
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


@pytest.mark.parametrize("resamples", [1, 99, 100, 101, 250])
def test_any_number_of_resamples_is_drawn_in_full(resamples: int) -> None:
    # Were a part of the means left unset, they would not lie within the values.
    estimate = bootstrap(np.array([2.0, 3.0]), resamples=resamples)
    assert 2.0 <= estimate.low <= estimate.high <= 3.0


def test_users_that_are_all_alike_leave_no_doubt() -> None:
    estimate = bootstrap(np.full(7, 0.25))
    assert estimate.low == estimate.mean == estimate.high == 0.25


def test_without_judged_users_there_is_no_mean() -> None:
    estimate = bootstrap(np.array([np.nan, np.nan]))
    assert np.isnan([estimate.mean, estimate.low, estimate.high]).all()
    assert (estimate.users, estimate.left_out) == (0, 2)


def test_an_estimate_prints_as_a_mean_with_its_interval() -> None:
    assert str(bootstrap(np.ones(3))) == "1.0000 [1.0000, 1.0000]"

"""Laws of the noise: it composes, vanishes at time 0, and a perfect denoiser takes it away."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recsys_vae.nn.diffusion import LatentDenoiser, NoiseSchedule
from recsys_vae.nn.towers import initialise

_USERS, _WIDTH = 5, 4
_SCHEDULES = st.builds(NoiseSchedule, st.integers(1, 60), st.floats(0.01, 0.99))


def _normal(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(_USERS, _WIDTH, generator=generator, dtype=torch.float64)


def _at(time: int) -> Tensor:
    """A time for every user, in double precision."""
    return torch.full((_USERS,), float(time), dtype=torch.float64)


@given(schedule=_SCHEDULES)
def test_the_variance_is_kept_and_the_last_share_of_noise_is_what_was_asked_for(
    schedule: NoiseSchedule,
) -> None:
    times = torch.arange(schedule.steps + 1, dtype=torch.float64)
    a, b = schedule.levels(times)
    # A few roundings of doubles.
    assert torch.allclose(a.square() + b.square(), torch.ones_like(a), rtol=1e-14)
    assert a[0] == 1.0
    assert b[0] == 0.0
    assert float(b[-1]) ** 2 == pytest.approx(schedule.share, rel=1e-12)
    assert (b.diff(dim=0) > 0).all()


@given(schedule=_SCHEDULES, time=st.integers(0, 60))
def test_a_step_without_noise_returns_its_input(schedule: NoiseSchedule, time: int) -> None:
    now = _at(min(time, schedule.steps))
    z = _normal()
    forth = schedule.diffuse(z, now, now, _normal(1))
    # cos z / cos: a rounding or two.
    assert torch.allclose(forth, z, rtol=1e-15, atol=0)
    assert torch.equal(schedule.diffuse(z, _at(0), _at(0), _normal(1)), z)
    assert torch.equal(schedule.step_back(z, _normal(2), now, now), z)


@given(schedule=_SCHEDULES)
def test_the_marginal_is_what_the_steps_compose_to(schedule: NoiseSchedule) -> None:
    # Each step is linear in the point and its own noise: follow the point's factor without
    # noise, and the variance as the sum of squares.
    zero, one = torch.zeros(_USERS, 1, dtype=torch.float64), torch.ones(_USERS, 1).double()
    factor, variance = one, zero
    for time in range(1, schedule.steps + 1):
        start, end = _at(time - 1), _at(time)
        factor = schedule.diffuse(factor, start, end, zero)
        kept, added = (
            schedule.diffuse(one, start, end, zero),
            schedule.diffuse(zero, start, end, one),
        )
        variance = kept.square() * variance + added.square()
        marginal = (
            schedule.diffuse(one, _at(0), end, zero),
            schedule.diffuse(zero, _at(0), end, one),
        )
        # Up to 60 products of doubles; a variance near 0 beside kept ones near 1.
        assert torch.allclose(factor, marginal[0], rtol=1e-12)
        assert torch.allclose(variance, marginal[1].square(), rtol=1e-11)


def test_the_marginal_by_simulation() -> None:
    schedule, users = NoiseSchedule(4, 0.6), 200_000
    generator = torch.Generator().manual_seed(0)
    z = torch.full((users, 1), 3.0)
    for time in range(4):
        start = torch.full((users,), time)
        z = schedule.diffuse(z, start, start + 1, torch.randn(users, 1, generator=generator))
    # Mean 3 sqrt(.4), variance .6; five standard errors.
    assert abs(float(z.mean()) - 3 * 0.4**0.5) < 5 * (0.6 / users) ** 0.5
    assert abs(float(z.var()) - 0.6) < 5 * 0.6 * (2 / users) ** 0.5


@given(schedule=_SCHEDULES, steps=st.integers(1, 60))
def test_a_perfect_denoiser_returns_x0_in_any_number_of_steps(
    schedule: NoiseSchedule, steps: int
) -> None:
    x0 = _normal()
    last = _at(schedule.steps)
    z = schedule.diffuse(x0, _at(0), last, _normal(1))
    restored = schedule.restore(z, lambda _z, _t: x0, min(steps, schedule.steps))
    # The last step keeps nothing of z: 0 z + 1 x0.
    assert torch.equal(restored, x0)


@given(schedule=_SCHEDULES, start=st.integers(1, 60), end=st.integers(0, 60))
def test_a_step_back_that_knows_x0_undoes_the_noise_along_the_same_line(
    schedule: NoiseSchedule, start: int, end: int
) -> None:
    later = min(start, schedule.steps)
    earlier = min(end, later)
    x0, noise = _normal(), _normal(1)
    z = schedule.diffuse(x0, _at(0), _at(later), noise)
    back = schedule.step_back(z, x0, _at(later), _at(earlier))
    # Doubles; b_t may be as small as asin(sqrt(.01)) / 60 = .002, which divides roundings.
    assert torch.allclose(
        back, schedule.diffuse(x0, _at(0), _at(earlier), noise), rtol=1e-12, atol=1e-12
    )


@given(schedule=_SCHEDULES, steps=st.integers(1, 60))
def test_times_fall_from_the_last_to_none(schedule: NoiseSchedule, steps: int) -> None:
    times = schedule.times(min(steps, schedule.steps))
    assert (times[0], times[-1]) == (schedule.steps, 0)
    assert all(one > other for one, other in pairwise(times))


def test_the_denoiser_starts_from_the_condition() -> None:
    denoiser = LatentDenoiser(_WIDTH, 7, NoiseSchedule(10, 0.5))
    initialise(denoiser, torch.Generator().manual_seed(0))
    denoiser = denoiser.double()
    z, condition = _normal(), _normal(1)
    times = torch.tensor([1, 4, 9, 10, 10])
    with torch.no_grad():
        a, b = denoiser.schedule.levels(times)
        known = torch.cat([z, condition, a.double(), b.double()], dim=1)
        correction = denoiser.last(torch.tanh(denoiser.first(known)))
        assert torch.equal(denoiser(z, condition, times), condition + correction)
        denoiser.last.weight.zero_()
        denoiser.last.bias.zero_()
        assert torch.equal(denoiser(z, condition, times), condition)

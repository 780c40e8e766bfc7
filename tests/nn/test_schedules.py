"""The KL weight follows the paper's formula."""

from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.nn.schedules import Constant, Cyclic, LinearAnnealing, LinearRise

_CAPS = st.floats(0, 2)
_STEPS = st.integers(0, 10**7)


@given(cap=_CAPS, steps_to_one=st.integers(1, 10**6), step=_STEPS)
def test_the_weight_is_the_smaller_of_cap_and_step_over_steps(
    cap: float, steps_to_one: int, step: int
) -> None:
    assert LinearAnnealing(cap, steps_to_one)(step) == min(cap, step / steps_to_one)


@given(cap=_CAPS, steps_to_one=st.integers(0, 10**6), step=_STEPS)
def test_the_weight_never_falls_and_never_exceeds_the_cap(
    cap: float, steps_to_one: int, step: int
) -> None:
    annealing = LinearAnnealing(cap, steps_to_one)
    assert 0 <= annealing(step) <= annealing(step + 1) <= cap


@given(cap=_CAPS, step=_STEPS)
def test_without_annealing_steps_the_weight_is_the_cap_from_the_start(
    cap: float, step: int
) -> None:
    assert LinearAnnealing(cap, 0)(step) == cap


def test_the_papers_schedule_reaches_its_cap_of_one_fifth_after_forty_thousand_steps() -> None:
    annealing = LinearAnnealing(cap=0.2, steps_to_one=200_000)
    assert annealing(0) == 0
    assert annealing(20_000) == 0.1
    assert annealing(39_999) < 0.2
    assert annealing(40_000) == annealing(1_000_000) == 0.2


@given(weight=st.floats(0, 100), step=_STEPS)
def test_a_constant_weight_is_itself(weight: float, step: int) -> None:
    assert Constant(weight)(step) == weight


def test_the_rise_is_a_straight_line_to_a_top_beyond_one() -> None:
    rise = LinearRise(top=5.0, steps=10)
    # 5 * t / 10
    assert [rise(step) for step in (0, 2, 5, 10, 11, 10**6)] == [0.0, 1.0, 2.5, 5.0, 5.0, 5.0]
    assert LinearRise(top=5.0, steps=0)(0) == 5.0


def test_the_cycle_of_fu_et_al_by_hand() -> None:
    # Ten steps a cycle, half of it rising: t / 5 for t = 0..4, then 1 for five steps, then again.
    cycle = [0 / 5, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 1, 1, 1, 1]
    cyclic = Cyclic(top=1.0, period=10, share=0.5)
    assert [cyclic(step) for step in range(40)] == 4 * cycle


@given(
    top=st.floats(0, 20),
    period=st.integers(2, 10**5),
    share=st.floats(0.01, 1),
    step=_STEPS,
)
def test_the_cyclic_weight_repeats_and_stays_within_its_top(
    top: float, period: int, share: float, step: int
) -> None:
    cyclic = Cyclic(top, period, share)
    assert 0 <= cyclic(step) <= top
    assert cyclic(step) == cyclic(step + period)
    assert cyclic(step - step % period) == 0


@given(top=st.floats(0, 20), period=st.integers(2, 10**4), step=_STEPS)
def test_one_cycle_is_the_rise(top: float, period: int, step: int) -> None:
    step %= period
    # Half of an even number of steps is a whole number of them: the same divisions.
    period *= 2
    assert Cyclic(top, period, 0.5)(step) == LinearRise(top, period // 2)(step)


@given(top=st.floats(0, 20), step=_STEPS)
def test_a_cycle_without_a_rise_is_constant(top: float, step: int) -> None:
    assert Cyclic(top, 7, 0.0)(step) == Cyclic(top, 1, 0.5)(step) == top

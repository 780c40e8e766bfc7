"""The KL weight follows the paper's formula."""

from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.nn.schedules import LinearAnnealing

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

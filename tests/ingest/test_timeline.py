import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.ingest.timeline import UNKNOWN_TIME, Timeline

DAY = 86_400_000
ANY_TIME = st.integers(UNKNOWN_TIME, 2**63 - 1)
USUAL_TIME = st.integers(0, 2 * 10**12)


def timeline(*times: int | str) -> Timeline:
    made = Timeline.of(np.array(times, dtype="datetime64[ms]").astype(np.int64))
    assert made is not None
    return made


@given(st.lists(st.one_of(USUAL_TIME, ANY_TIME), min_size=1, max_size=20))
def test_every_interaction_is_in_its_period_or_missing(times: list[int]) -> None:
    made = Timeline.of(np.array(times, dtype=np.int64))
    known = [time for time in times if time != UNKNOWN_TIME]
    if made is None:
        assert not known
        return
    assert made.missing + sum(made.counts) == len(times)
    assert (made.first_ms, made.last_ms) == (min(known), max(known))
    assert len(made.counts) <= 600
    assert made.counts[0] > 0
    assert made.counts[-1] > 0
    days = np.array(known) // DAY
    edges = made.edges().astype("datetime64[D]").astype(np.int64)
    expected = np.histogram(np.minimum(days, edges[-1] - 1), edges)[0]
    assert made.counts == tuple(expected)


def test_months_of_a_year_by_hand() -> None:
    made = timeline("2024-01-31T23:59:59.999", "2024-02-01", "2024-02-29", "2024-06-01")
    assert (made.unit, made.step, made.counts) == ("month", 1, (1, 2, 0, 0, 0, 1))
    assert made.edges().astype(str).tolist() == [
        "2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06", "2024-07",
    ]  # fmt: skip


def test_days_before_1970_are_days_too() -> None:
    made = timeline("1969-12-31T12:00", "1970-01-01T12:00")
    assert (made.unit, made.counts) == ("day", (1, 1))


@pytest.mark.parametrize(
    ("last", "unit", "step"),
    [
        ("2000-04-01", "day", 1),  # the 92nd day
        ("2000-04-02", "month", 1),
        ("2049-12-31", "month", 1),  # the 600th month
        ("2050-01-01", "year", 1),
        ("2599-12-31", "year", 1),
        ("2600-01-01", "year", 10),
    ],
)
def test_the_period_grows_with_the_span(last: str, unit: str, step: int) -> None:
    made = timeline("2000-01-01", last)
    assert (made.unit, made.step) == (unit, step)


def test_without_any_time_there_is_no_timeline() -> None:
    assert Timeline.of(np.zeros(0, dtype=np.int64)) is None
    assert Timeline.of(np.array([UNKNOWN_TIME])) is None

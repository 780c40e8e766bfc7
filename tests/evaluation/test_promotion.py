"""When a challenger takes the champion's place."""

from typing import Any

import pytest

from recsys_vae.errors import InputError
from recsys_vae.evaluation.promotion import Cost, Rails, Verdict, decide

_ALIKE = Cost(coverage=0.5, latency=4.0, size=200.0)


def _difference(mean: float, low: float, high: float, p: float) -> dict[str, Any]:
    return {"difference": mean, "difference_low": low, "difference_high": high, "p": p}


_AHEAD = _difference(0.02, 0.01, 0.03, 0.001)
_BEHIND = _difference(-0.01, -0.02, 0.0, 0.04)
_UNSURE = _difference(0.002, -0.004, 0.008, 0.4)


def _decided(
    difference: dict[str, Any], rails: Rails | None = None, challenger: Cost = _ALIKE
) -> Verdict:
    rails = rails or Rails()
    return decide(difference, "ndcg@100", _ALIKE, challenger, rails, means=(0.30, 0.32))


def test_who_is_surely_ahead_is_promoted_with_the_numbers() -> None:
    verdict = _decided(_AHEAD)
    assert verdict.promote
    assert verdict.reason == (
        "ndcg@100 is 0.3200 against 0.3000 (+0.0200 [+0.0100, +0.0300], p = 0.0010)"
    )
    assert [one.name for one in verdict.checks] == ["ndcg@100", "coverage", "latency", "size"]
    assert all(one.kept for one in verdict.checks)


@pytest.mark.parametrize("difference", [_BEHIND, _UNSURE])
def test_who_is_not_surely_ahead_is_refused(difference: dict[str, Any]) -> None:
    verdict = _decided(difference)
    assert not verdict.promote
    assert verdict.reason.endswith("which is not surely ahead (p < 0.05 is asked for)")


def test_a_stricter_level_refuses_what_a_looser_one_promotes() -> None:
    assert _decided(_AHEAD, Rails(alpha=0.0011)).promote
    assert not _decided(_AHEAD, Rails(alpha=0.001)).promote


def test_within_a_margin_it_is_enough_to_be_surely_no_worse() -> None:
    assert _decided(_UNSURE, Rails(margin=0.0041)).promote
    refused = _decided(_UNSURE, Rails(margin=0.004))
    assert not refused.promote
    assert "not surely within 0.004" in refused.reason


@pytest.mark.parametrize(
    ("cost", "rails", "said"),
    [
        (
            Cost(coverage=0.39, latency=4, size=200), Rails(),
            "its lists cover 39.0% of the catalogue, which is less than 40.0%",
        ),
        (
            Cost(coverage=0.5, latency=8.1, size=200), Rails(),
            "its latency is 8.1 ms a user, which is more than 8",
        ),
        (
            Cost(coverage=0.5, latency=4, size=401), Rails(),
            "its size is 401 MB, which is more than 400",
        ),
        (
            Cost(coverage=0.1, latency=9, size=200), Rails(),
            "its lists cover 10.0% of the catalogue, which is less than 40.0%; "
            "its latency is 9 ms a user, which is more than 8",
        ),
    ],
)  # fmt: skip
def test_a_guard_rail_refuses_whoever_is_ahead(cost: Cost, rails: Rails, said: str) -> None:
    verdict = _decided(_AHEAD, rails, cost)
    assert not verdict.promote
    assert verdict.reason == said


def test_a_limit_itself_is_kept_and_a_floor_is_always_allowed() -> None:
    assert _decided(_AHEAD, challenger=Cost(coverage=0.4, latency=8, size=400)).promote
    larger = Cost(coverage=0.5, latency=11, size=600)
    assert not _decided(_AHEAD, challenger=larger).promote
    assert _decided(_AHEAD, Rails(latency_floor=11, size_floor=600), larger).promote


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alpha": 0}, "--alpha 0 "),
        ({"alpha": 1}, "--alpha 1 "),
        ({"alpha": float("nan")}, "--alpha nan "),
        ({"margin": -0.1}, "--margin -0.1 "),
        ({"coverage": float("inf")}, "--min-coverage inf "),
        ({"size": float("nan")}, "--max-size nan "),
    ],
)
def test_rails_out_of_range_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Rails(**values)

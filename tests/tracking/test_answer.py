"""Which ids float64 holds."""

import pytest

from recsys_vae.interactions import IdMap
from recsys_vae.tracking.answer import can_be_numbers


@pytest.mark.parametrize(
    ("ids", "held"),
    [
        ([3, 1], True),
        ([2**53, -(2**53)], True),
        ([1, 2**53 + 1], False),
        ([1, -(2**53) - 1], False),
        ([-(2**63) + 1, 2**63 - 1], False),
        (["1", "2"], False),
    ],
)
def test_integers_within_2_to_the_53_can_be_numbers(ids: list[int] | list[str], held: bool) -> None:
    assert can_be_numbers(IdMap.of(ids)) is held

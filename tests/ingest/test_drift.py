import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from recsys_vae.ingest.counts import Counts
from recsys_vae.ingest.drift import drift, jensen_shannon, relative_change, stability_index
from recsys_vae.ingest.profile import profile
from recsys_vae.interactions import Interactions
from tests.ingest.test_profile import PAIRS, Pairs, empty, of_pairs

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=30)


def counts_of(values: list[int]) -> Counts:
    return Counts.of(np.array(values, dtype=np.int64))


def values_of(before: Interactions, after: Interactions) -> dict[str, float | None]:
    return {one.name: one.value for one in drift(profile(before), profile(after)).measures}


@given(PAIRS)
def test_nothing_drifts_from_itself(pairs: Pairs) -> None:
    made = profile(of_pairs(pairs))
    itself = drift(made, made)
    assert [one.value for one in itself.measures] == [0.0] * 11
    assert itself.verdict == "stable"
    assert itself.before == itself.after


def test_nothing_drifts_from_nothing_and_everything_is_unknown_or_new_against_it() -> None:
    nothing, something = empty(), of_pairs({(0, 0), (0, 1)})
    assert set(values_of(nothing, nothing).values()) == {0.0}
    grown = values_of(nothing, something)
    assert (grown["new items"], grown["gone items"]) == (1.0, 0.0)
    assert grown["change of users"] is None
    assert grown["activity of users (PSI)"] is None
    assert grown["shares of items (JS distance)"] is None
    assert drift(profile(nothing), profile(something)).verdict == "large"


def test_drift_by_hand() -> None:
    before = of_pairs({(0, 1), (1, 1), (2, 2), (3, 2)})
    after = of_pairs({(0, 1), (1, 1), (2, 1), (3, 1), (9, 3)})
    values = values_of(before, after)
    assert values["change of users"] == 5 / 4 - 1
    assert values["change of items"] == 0
    assert values["change of density"] == pytest.approx((5 / 10) / (4 / 8) - 1)
    assert values["new users"] == pytest.approx(1 / 5)
    assert values["gone users"] == 0
    assert (values["new items"], values["gone items"]) == (1 / 2, 1 / 2)
    # Everybody took one item: the same bin. Popularity: 2, 2 became 4, 1.
    assert values["activity of users (PSI)"] == 0
    # Bins 1, 2-3, 4-7 with half an item more each: (0.5, 2.5, 0.5) / 3.5 and (1.5, 0.5, 1.5) / 3.5
    expected = 2 * (1 / 3.5) * math.log(3) + (-2 / 3.5) * math.log(1 / 5)
    assert values["popularity of items (PSI)"] == pytest.approx(expected)
    # Shares of items 1, 2, 3: (1/2, 1/2, 0) and (4/5, 0, 1/5)
    expected = float(jensenshannon([0.5, 0.5, 0], [0.8, 0, 0.2], base=2))
    assert values["shares of items (JS distance)"] == pytest.approx(expected)


@given(COUNTS, COUNTS)
def test_both_distances_are_symmetric_and_not_negative(one: list[int], other: list[int]) -> None:
    there = stability_index(counts_of(one), counts_of(other))
    back = stability_index(counts_of(other), counts_of(one))
    assert there[0] == pytest.approx(back[0], abs=1e-12)  # the order of a sum
    assert there[0] is not None
    assert there[0] >= 0
    size = min(len(one), len(other))
    shares = np.array(one[:size]), np.array(other[:size])
    assert jensen_shannon(*shares) == jensen_shannon(*shares[::-1])


@given(st.data())
def test_the_js_distance_is_that_of_scipy(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 20))
    counts = st.lists(st.integers(0, 99), min_size=size, max_size=size).filter(any)
    p, q = (np.array(data.draw(counts)) for _ in range(2))
    found = jensen_shannon(p, q)[0]
    expected = np.nan_to_num(jensenshannon(p / p.sum(), q / q.sum(), base=2))
    # Near 0 a square root makes 1e-8 of a rounding of 1e-16.
    assert found == pytest.approx(float(expected), abs=1e-7)


def test_chance_is_what_one_in_twenty_draws_exceeds() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    values = np.array([1, 2, 4, 8])
    above_psi, above_js, draws = 0, 0, 1_000
    for _ in range(draws):
        one, other = (rng.choice(4, size=500, p=weights) for _ in range(2))
        psi, chance = stability_index(Counts.of(values[one]), Counts.of(values[other]))
        assert psi is not None
        above_psi += psi > chance
        distance, chance = jensen_shannon(np.bincount(one), np.bincount(other))
        assert distance is not None
        above_js += distance > chance
    # Four standard deviations of a binomial share of 0.05.
    tolerance = 4 * (0.05 * 0.95 / draws) ** 0.5
    assert above_psi / draws == pytest.approx(0.05, abs=tolerance)
    assert above_js / draws == pytest.approx(0.05, abs=tolerance)


@pytest.mark.parametrize(
    ("before", "after", "value"), [(4, 5, 0.25), (4, 1, -0.75), (0, 0, 0.0), (0, 1, None)]
)
def test_relative_change(before: float, after: float, value: float | None) -> None:
    assert relative_change(before, after) == value


@pytest.mark.parametrize(
    ("users", "verdict"), [(100, "stable"), (110, "stable"), (120, "moderate"), (130, "large")]
)
def test_verdicts_keep_to_their_thresholds(users: int, verdict: str) -> None:
    before = profile(of_pairs({(user, 0) for user in range(100)}))
    after = profile(of_pairs({(user, 0) for user in range(users)}))
    (found,) = (one for one in drift(before, after).measures if one.name == "change of users")
    assert found.verdict == verdict


def test_what_chance_explains_is_no_drift() -> None:
    before, after = of_pairs({(0, 0), (1, 0)}), of_pairs({(0, 0), (1, 0), (1, 1)})
    (found,) = (
        one
        for one in drift(profile(before), profile(after)).measures
        if one.name == "activity of users (PSI)"
    )
    assert found.value is not None
    assert found.chance is not None
    assert 0.25 < found.value < found.chance
    assert found.verdict == "stable"


def test_estimates_of_large_data_say_so_and_stay_zero_on_themselves() -> None:
    items = np.arange(12_000)
    frame = pd.DataFrame({"user": items % 5_000, "item": items})
    made = profile(Interactions.from_frame(frame))
    itself = {one.name: one for one in drift(made, made).measures}
    estimated = {name for name, one in itself.items() if not one.exact}
    assert estimated == {
        "shares of items (JS distance)", "new users", "gone users", "new items", "gone items",
    }  # fmt: skip
    assert {one.value for one in itself.values()} == {0.0}


def test_the_json_says_everything(small: Interactions) -> None:
    made = drift(profile(small), profile(small))
    content = json.loads(json.dumps(made.to_json()))
    assert (content["format_version"], content["verdict"]) == (1, "stable")
    assert content["measures"][0] == {
        "name": "change of users", "value": 0.0, "chance": None, "exact": True, "verdict": "stable",
    }  # fmt: skip

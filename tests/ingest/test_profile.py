import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.ingest.profile import Profile, Ranked, profile
from recsys_vae.interactions import IdMap, Interactions

PAIRS = st.sets(st.tuples(st.integers(0, 12), st.integers(0, 8)), min_size=1)
Pairs = set[tuple[int, int]]


def of_pairs(pairs: Pairs) -> Interactions:
    return Interactions.from_frame(pd.DataFrame(sorted(pairs), columns=["user", "item"]))


def empty() -> Interactions:
    nobody = IdMap.of(np.zeros(0, dtype=np.int64))
    return Interactions(nobody, nobody, csr_array((0, 0), dtype=np.float32))


def test_a_small_matrix_by_hand(small: Interactions) -> None:
    # u0: 0, 1, 2; u1: 1; u2: 2, 3
    made = profile(small, np.array([0, 1, 2, 3, 4, 5]) * 86_400_000)
    assert (made.users, made.items, made.interactions) == (3, 4, 6)
    assert made.density == 6 / (3 * 4)
    assert (made.activity.mean, made.popularity.mean) == (6 / 3, 6 / 4)
    assert made.activity.histogram == (0, 1, 2)  # none; u1; u0 and u2
    assert made.popularity.histogram == (0, 2, 2)
    assert (made.activity.one, made.popularity.one) == (1, 2)
    # ascending 1, 2, 3: -2*1 + 0*2 + 2*3 = 4; 4 / (3 * 6)
    assert made.activity.gini == pytest.approx(4 / 18, abs=1e-16)  # one division
    assert made.heaviest_users == (Ranked("u0", 3), Ranked("u2", 2), Ranked("u1", 1))
    assert {one.id for one in made.most_popular_items[:2]} == {"1", "2"}
    assert made.timeline is not None
    assert made.timeline.counts == (1, 1, 1, 1, 1, 1)
    assert made.fingerprint == small.fingerprint


@given(PAIRS, st.randoms())
def test_the_numbering_of_users_and_items_changes_nothing(pairs: Pairs, random: Any) -> None:
    interactions = of_pairs(pairs)
    rows = np.array(random.sample(range(len(interactions.users)), len(interactions.users)))
    columns = np.array(random.sample(range(len(interactions.items)), len(interactions.items)))
    matrix = csr_array(interactions.matrix.toarray()[rows][:, columns])
    shuffled = Interactions(
        interactions.users.take(rows),
        interactions.items.take(columns),
        matrix,
    )
    one, other = profile(interactions).to_json(), profile(shuffled).to_json()
    del one["fingerprint"], other["fingerprint"]
    assert one == other


@given(PAIRS)
def test_twice_the_users_have_the_same_density_and_shape(pairs: Pairs) -> None:
    one = profile(of_pairs(pairs))
    other = profile(of_pairs(pairs | {(user + 100, item) for user, item in pairs}))
    assert other.density == pytest.approx(one.density, rel=1e-15)  # one division
    assert other.activity.mean == one.activity.mean
    assert other.activity.gini == pytest.approx(one.activity.gini, abs=1e-15)  # one division
    assert other.activity.histogram == tuple(2 * number for number in one.activity.histogram)
    # Linear between points: rounding of the interpolation.
    assert other.popularity.held == pytest.approx(one.popularity.held, abs=1e-12)
    assert other.popularity.gini == pytest.approx(one.popularity.gini, abs=1e-15)


@given(PAIRS, st.data())
def test_json_gives_the_profile_back_exactly(pairs: Pairs, data: Any) -> None:
    times = st.integers(-(2**63), 2**63 - 1)
    drawn = data.draw(st.lists(times, min_size=len(pairs), max_size=len(pairs)))
    made = profile(of_pairs(pairs), data.draw(st.sampled_from([None, np.array(drawn)])))
    text = json.dumps(made.to_json())
    assert Profile.from_json(json.loads(text), source=Path("profile.json")) == made


def test_empty_and_one_cell_data(tmp_path: Path) -> None:
    for interactions in (empty(), of_pairs({(0, 0)})):
        made = profile(interactions, np.zeros(len(interactions), dtype=np.int64))
        assert made.interactions == made.density == len(interactions)
        assert made.activity.gini == 0
        made.save(tmp_path / "profile.json")
        assert Profile.load(tmp_path / "profile.json") == made


def test_times_must_fit_the_interactions(small: Interactions) -> None:
    with pytest.raises(ValueError, match="5 times do not fit 6"):
        profile(small, np.zeros(5, dtype=np.int64))


def test_the_json_is_bounded_whatever_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 30_000
    ids = [f"{number} " + "ä" * 500 for number in range(n)]
    matrix = csr_array(
        (np.ones(n, dtype=np.float32), rng.permutation(n), np.arange(n + 1)), shape=(n, n)
    )
    wide = Interactions(IdMap.of(ids), IdMap.of(ids), matrix)
    profile(wide, rng.integers(-(2**63), 2**63 - 1, size=n)).save(tmp_path / "profile.json")
    assert (tmp_path / "profile.json").stat().st_size < 1_000_000


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


_DAMAGES = {
    "another version": (_set("format_version", value=9), "version 9, this version reads 1"),
    "a word for a number": (_set("users", value="many"), "users"),
    "a negative count": (_set("interactions", value=-1), "interactions"),
    "not a number": (_set("density", value=float("nan")), "density"),
    "a part missing": (lambda content: content.pop("popularity"), "popularity"),
    "a bin missing": (_set("activity", "histogram", value=[0, 1]), "bins"),
    "a user too many": (_set("activity", "histogram", value=[9, 1, 2]), "each user or item once"),
    "a curve cut short": (_set("activity", "held", value=[0.0, 1.0]), "fixed points"),
    "quantiles gone": (_set("popularity", "quantiles", value={}), "quantiles"),
    "users of other data": (_set("users", value=4), "same users and items"),
    "interactions of other data": (_set("interactions", value=7), "same interactions"),
    "a sketch that is no sketch": (_set("top_items", "keys", value="xyz"), "top_items.keys"),
    "a sketch cut short": (_set("item_sample", "keys", value=""), "item_sample"),
    "counts without items": (_set("top_items", "counts", value=""), "one count an item"),
    "times the wrong way": (_set("timeline", "last_ms", value=-1), "first before the last"),
    "a month too many": (_set("timeline", "counts", value=[1, 2, 3]), "one count a period"),
}


@pytest.mark.parametrize("case", _DAMAGES)
def test_a_damaged_profile_is_refused_in_one_sentence(
    small: Interactions, tmp_path: Path, case: str
) -> None:
    damage, words = _DAMAGES[case]
    content = profile(small, np.zeros(6, dtype=np.int64)).to_json()
    damage(content)
    (tmp_path / "profile.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as refused:
        Profile.load(tmp_path / "profile.json")
    assert "profile.json" in str(refused.value)
    assert str(refused.value).endswith("make it with 'recsys-vae profile' again")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"format_version": 1}'])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content)
    with pytest.raises(InputError, match=r"profile\.json is damaged"):
        Profile.load(tmp_path / "profile.json")


def test_a_profile_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no profile\.json.*recsys-vae profile"):
        Profile.load(tmp_path / "profile.json")

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.ingest.data_warnings import DataWarning, warnings_of
from recsys_vae.interactions import Interactions
from tests.ingest.test_profile import empty


def warned(rows: list[tuple[object, object]]) -> dict[str, DataWarning]:
    interactions = Interactions.from_frame(pd.DataFrame(rows, columns=["user", "item"]))
    return {one.name: one for one in warnings_of(interactions)}


def with_users(*ids: str) -> dict[str, DataWarning]:
    return warned([(user, item) for user in ids for item in (1, 2)])


def test_clean_data_give_no_warning() -> None:
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", item) for user in range(200) for item in rng.permutation(40)[:12]]
    assert warned(list(rows)) == {}
    assert warnings_of(empty()) == ()


def test_a_user_with_half_the_catalogue() -> None:
    ring: list[tuple[object, object]] = [
        (user, (user + step) % 20) for user in range(20) for step in range(3)
    ]
    assert "users-with-half-the-catalogue" not in warned(ring)
    nine: list[tuple[object, object]] = [(77, item) for item in range(9)]
    assert "users-with-half-the-catalogue" not in warned(ring + nine)
    warning = warned([*ring, *nine, (77, 9)])["users-with-half-the-catalogue"]
    assert (warning.count, warning.examples) == (1, ("77",))
    assert "1 user took at least half of the 20 items (77)" in warning.sentence


def test_half_of_a_handful_is_nothing_special() -> None:
    assert "users-with-half-the-catalogue" not in warned([(1, item) for item in range(19)])


def test_items_with_a_single_user() -> None:
    shared: list[tuple[object, object]] = [(user, item) for user in (1, 2) for item in (1, 2)]
    assert "items-with-one-user" not in warned(shared)
    warning = warned([*shared, (1, 3), (2, 4)])["items-with-one-user"]
    assert (warning.count, warning.examples) == (2, ("3", "4"))
    assert "2 items (50.0% of all)" in warning.sentence
    assert "--min-item-users" in warning.sentence


def test_equal_histories() -> None:
    long = [(user, item) for user in "ab" for item in range(10)]
    warning = warned([*long, ("c", 1)])["equal-histories"]
    assert (warning.count, warning.examples) == (2, ("'a' and 'b'",))
    assert "equal-histories" not in warned([*long[:-1], ("b", 99)])
    short = [(user, item) for user in "ab" for item in range(9)]
    assert "equal-histories" not in warned(list(short))


_ALIKE = {
    "a space after": ("ann", "ann ", "white-space"),
    "a space within": ("an n", "ann", "white-space"),
    "a no-break space": ("\u00a0ann", "ann", "white-space"),
    "an ideographic space": ("\u3000ann", "ann", "white-space"),
    "a line break": ("ann\n", "ann", "white-space"),
    "a zero-width space": ("a\u200bnn", "ann", "white-space"),
    "a byte order mark": ("\ufeffann", "ann", "white-space"),
    "a capital": ("Ann", "ann", "case"),
    "a capital beyond ASCII": ("Äda", "äda", "case"),
    "a combining accent": ("e\u0301va", "\u00e9va", "unicode-form"),
    "full width": ("\uff41nn", "ann", "unicode-form"),
    "a capital and a space": ("Ann ", "ann", "spelling"),
    "a capital and a combining accent": ("E\u0301va", "\u00e9va", "spelling"),
}


@pytest.mark.parametrize("case", _ALIKE)
@pytest.mark.parametrize("role", ["user", "item"])
def test_ids_that_look_alike_are_told_with_what_sets_them_apart(case: str, role: str) -> None:
    one, other, kind = _ALIKE[case]
    rows = [(one, "x"), (other, "x"), (one, "y"), (other, "y"), ("bob", "x"), ("bob", "y")]
    found = warned([row if role == "user" else row[::-1] for row in rows])
    assert list(found) == [f"{role}-ids-{kind}"]
    warning = found[f"{role}-ids-{kind}"]
    assert warning.count == 2
    assert set(warning.examples[0].split(" and ")) == {ascii(one), ascii(other)}
    assert warning.sentence.isprintable()


@pytest.mark.parametrize(
    "ids", [("ann", "bob"), ("a-nn", "ann"), ("1", "01"), ("e", "\u00e9"), ("ann", "anne")]
)
def test_ids_that_differ_by_more_are_left_alone(ids: tuple[str, str]) -> None:
    assert with_users(*ids) == {}


def test_integer_ids_have_no_spelling() -> None:
    assert warned([(user, item) for user in (1, 10) for item in (1, 2)]) == {}


def test_examples_are_few_and_short() -> None:
    ids = [name for number in range(40) for name in (f"{number}", f"{number} ")]
    warning = with_users(*ids)["user-ids-white-space"]
    assert (warning.count, len(warning.examples)) == (80, 5)
    assert warning.sentence.count("' and '") == 5
    assert ", ...)" in warning.sentence
    long = with_users("a" * 10_000, "A" * 10_000)["user-ids-case"]
    assert len(long.sentence) < 400


@given(st.sets(st.text(alphabet="aA \u00a0e\u0301\u00e9", min_size=1, max_size=4), min_size=1))
def test_each_id_is_suspect_exactly_when_another_folds_to_the_same(ids: set[str]) -> None:
    import unicodedata

    found = with_users(*ids)
    bare = [one.replace(" ", "").replace("\u00a0", "") for one in ids]
    keys = {
        "white-space": bare,
        "case": [one.lower() for one in ids],
        "unicode-form": [unicodedata.normalize("NFKC", one) for one in ids],
    }
    for kind, folded in keys.items():
        expected = sum(folded.count(one) > 1 for one in folded)
        warning = found.get(f"user-ids-{kind}")
        assert (warning.count if warning else 0) == expected

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking import NotFiniteError, Rules, Selected, rank, read_rules

N_ITEMS = 9
ITEMS = [f"i{n}" for n in range(N_ITEMS)]
DOWN = list(range(N_ITEMS, 0, -1))


def ids_of(made: Selected) -> list[list[str]]:
    return [[ITEMS[n] for n in row if n >= 0] for row in made.lists.items_BK.tolist()]


def compiled(folder: Path, text: str, items: IdMap | None = None, **options: Any) -> Rules:
    path = folder / "rules.toml"
    path.write_text(text)
    return Rules.compile(read_rules(path), items or IdMap.of(ITEMS), **options)


def lists(rules: Rules, scores: Any, k: int, users: Any = ("u0",), given_items: Any = ()) -> Any:
    block = np.array(scores, dtype=np.float32, ndmin=2)
    seen = np.zeros(block.shape, dtype=np.float32)
    seen[0, list(given_items)] = 1
    made = rules.apply(block, np.array(users, dtype=object), csr_array(seen), k)
    return ids_of(made) if len(users) > 1 else ids_of(made)[0]


def test_an_empty_rule_file_changes_nothing(tmp_path: Path) -> None:
    rules = compiled(tmp_path, "")
    assert rules.adjustment_I is None
    assert rules.pool(4) == 4
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, N_ITEMS)).astype(np.float32)
    given_items = csr_array((rng.random((20, N_ITEMS)) < 0.3).astype(np.float32))
    users = np.arange(20)
    made = rules.apply(scores.copy(), users, given_items, 4).lists
    plain = rank(scores.copy(), given_items, 4)
    assert made.items_BK.tolist() == plain.items_BK.tolist()
    assert made.scores_BK.tolist() == plain.scores_BK.tolist()


def test_the_part_for_everybody_is_what_rank_takes(tmp_path: Path) -> None:
    rules = compiled(tmp_path, 'mask_seen = false\n[items]\ndeny = ["i0"]')
    assert not rules.item_rules.mask_seen
    made = rank(np.array([DOWN], np.float32), csr_array((1, N_ITEMS)), 2, rules.item_rules)
    assert made.items_BK.tolist() == [[1, 2]]


def test_the_adjustment_is_the_discount_or_minus_infinity(tmp_path: Path) -> None:
    text = '[popularity]\ndiscount = 2\n[items]\nallow = ["i0", "i1"]'
    counts = np.zeros(N_ITEMS, dtype=np.int64)
    counts[1] = 7
    adjustment = compiled(tmp_path, text, counts_I=counts).adjustment_I
    assert adjustment is not None
    assert adjustment[:2].tolist() == [0, -np.float32(2 * np.log(8))]
    assert np.isneginf(adjustment[2:]).all()
    assert adjustment.dtype == np.float32


def test_a_discount_needs_counts_that_fit(tmp_path: Path) -> None:
    text = "[popularity]\ndiscount = 2"
    with pytest.raises(InputError, match="popularity: how many users"):
        compiled(tmp_path, text)
    with pytest.raises(ValueError, match="one number"):
        compiled(tmp_path, text, counts_I=np.zeros(3))


def test_the_minimum_is_of_the_discounted_score(tmp_path: Path) -> None:
    text = "minimum_score = 1\n[popularity]\ndiscount = 1"
    rules = compiled(tmp_path, text, counts_I=np.array([1, 0] + [0] * (N_ITEMS - 2)))
    assert lists(rules, [1.5, 1.0] + [0] * (N_ITEMS - 2), 3) == ["i1"]


def test_users_who_are_named_get_only_what_they_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\nu0,i3\nu0,i2\nu2,gone\n")
    rules = compiled(tmp_path, '[users]\nallow_file = "a.csv"')
    made = lists(rules, [DOWN] * 3, 2, users=("u0", "u1", "u2"))
    # u2 may get only what the model does not know: nothing.
    assert made == [["i2", "i3"], ["i0", "i1"], []]
    assert rules.unknown == {"users.allow_file": 1}
    assert rules.named(np.array(["u0", "u1", "u2"], dtype=object)).tolist() == [True, False, True]


def test_what_is_denied_is_denied_even_if_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\nu0,i3\nu0,i2\n")
    (tmp_path / "d.csv").write_text("user,item\nu0,i2\nu1,i0\n")
    rules = compiled(tmp_path, '[users]\nallow_file = "a.csv"\ndeny_file = "d.csv"')
    assert lists(rules, [DOWN] * 2, 2, users=("u0", "u1")) == [["i3"], ["i1", "i2"]]


def test_users_with_integer_ids_are_found_whatever_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("user,item\n7,10\n")
    pd.DataFrame({"user": [7], "item": [10]}).to_parquet(tmp_path / "d.parquet")
    for name in ("d.csv", "d.parquet"):
        rules = compiled(
            tmp_path, f'[users]\ndeny_file = "{name}"', IdMap.of(range(10, 10 + N_ITEMS))
        )
        for users in (np.array([7]), np.array(["7"], dtype=object)):
            scores = np.array([DOWN], np.float32)
            made = rules.apply(scores, users, csr_array((1, N_ITEMS), dtype=np.float32), 1)
            assert made.lists.items_BK.tolist() == [[1]]


@pytest.mark.parametrize(
    ("at", "out"),
    [
        ("2026-01-01T00:00", {"i0", "i2"}),
        ("2025-12-31T23:59:59.999", {"i0", "i1", "i2"}),
        ("2026-01-31T23:59:59.999", {"i0", "i2"}),
        ("2026-02-01T00:00", {"i0", "i1", "i2"}),
        ("2026-03-01T01:00+01:00", {"i0", "i2"}),
        ("2030-01-01", {"i1", "i2"}),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_items_are_available_within_their_windows(
    tmp_path: Path, at: str, out: set[str], kind: str
) -> None:
    windows = [
        ("i0", "2027-01-01", ""),
        ("i1", "2026-01-01", "2026-02-01T00:00:00Z"),
        ("i1", "1772323200", "2026-04-01"),  # 2026-03-01 in seconds
        ("i2", "", "2020-01-01"),
    ]
    frame = pd.DataFrame(windows, columns=["item", "from", "until"])
    if kind == "csv":
        frame.to_csv(tmp_path / "w.csv", index=False)
    else:
        numbers = pd.to_numeric(frame["from"], errors="coerce")
        begins = pd.to_datetime(numbers, unit="s").fillna(
            pd.to_datetime(frame["from"], errors="coerce", format="%Y-%m-%d")
        )
        ends = pd.to_datetime(frame["until"], errors="coerce", format="ISO8601", utc=True)
        frame.assign(**{"from": begins, "until": ends}).to_parquet(tmp_path / "w.parquet")
    moment = datetime.fromisoformat(at)
    rules = compiled(tmp_path, f'[availability]\nfile = "w.{kind}"', at=moment)
    assert rules.permitted_I is not None
    assert {ITEMS[n] for n in np.flatnonzero(~rules.permitted_I)} == out
    assert rules.at.utcoffset() == timedelta(0)


ATTRIBUTES = """item,genre,price,new
i0,Drama|War,10,yes
i1,War,20,no
i2,,30,yes
i3,Drama| Noir ,,no
gone,Noir,1,yes
"""


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ('attribute = "genre"\nin = ["Drama"]', ["i0", "i3"]),
        ('attribute = "genre"\nin = ["Noir", "War"]', ["i0", "i1", "i3"]),
        # Items without a value, or without a row, are kept.
        ('attribute = "genre"\nnot_in = ["War"]', ["i2", *ITEMS[3:]]),
        ('attribute = "price"\nmin = 20', ["i1", "i2"]),
        ('attribute = "price"\nmin = 10\nmax = 20.0', ["i0", "i1"]),
        ('attribute = "price"\nin = [30]', ["i2"]),
    ],
)
def test_items_are_required_to_be_so(tmp_path: Path, rule: str, kept: list[str]) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    rules = compiled(tmp_path, f'[attributes]\nfile = "a.csv"\n[[require]]\n{rule}')
    assert lists(rules, DOWN, N_ITEMS) == kept
    assert rules.unknown["attributes.file"] == 1


def test_columns_of_parquet_are_written_as_labels(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "item": ITEMS[:3],
            "year": [1995.0, None, 1996.0],
            "new": [True, False, None],
            "tags": [["a", "b"], None, ["b"]],
            "price": [Decimal("9.50"), None, Decimal("10.00")],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    for rule, kept in [
        ('"year"\nin = [1995]', ["i0"]),
        ('"new"\nin = [true]', ["i0"]),
        ('"new"\nin = ["false"]', ["i1"]),
        ('"tags"\nin = ["b"]', ["i0", "i2"]),
        ('"year"\nmin = 1995.5', ["i2"]),
        ('"price"\nmin = 9.75', ["i2"]),
    ]:
        text = f'[attributes]\nfile = "a.parquet"\n[[require]]\nattribute = {rule}'
        assert lists(compiled(tmp_path, text), DOWN, N_ITEMS) == kept


def test_labels_that_nobody_has_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    rule = '[attributes]\nfile = "a.csv"\n[[require]]\nattribute = "genre"\n'
    rules = compiled(tmp_path, rule + 'in = ["War", "Wra"]')
    assert rules.unknown == {"attributes.file": 1, "require, number 1": 1}


def test_a_cap_on_one_label_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    rule = '[attributes]\nfile = "a.csv"\n[[at_most]]\nattribute = "genre"\ncount = 1\n'
    assert lists(compiled(tmp_path, rule), DOWN, 3) == ["i0", "i2", "i4"]
    assert lists(compiled(tmp_path, rule + 'value = "Drama"'), DOWN, 4) == ["i0", "i1", "i2", "i4"]


def test_a_quota_that_cannot_be_met_is_reported_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    text = '[attributes]\nfile = "a.csv"\n[[at_least]]\nattribute = "new"\nvalue = "yes"\ncount = 2'
    rules = compiled(tmp_path, text)
    scores = np.array([DOWN[::-1]] * 2, np.float32)
    seen = np.zeros(scores.shape, np.float32)
    seen[1, 0] = 1
    made = rules.apply(scores, np.arange(2), csr_array(seen), 3)
    assert ids_of(made) == [["i8", "i2", "i0"], ["i8", "i7", "i2"]]
    assert made.relaxed() == {"at_least 2 new yes": 1, "pin": 0}
    assert made.relaxed_B.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("top", "force", "first"),
    [
        ("", "false", "i8"),
        ("minimum_score = 5", "false", "i8"),
        ('items = { deny = ["i8"] }', "false", "i0"),
        ('items = { deny = ["i8"] }', "true", "i8"),
        ('items = { allow = ["i0", "i1"] }', "true", "i8"),
    ],
)
def test_a_pin_obeys_masks_unless_it_is_forced(
    tmp_path: Path, top: str, force: str, first: str
) -> None:
    rules = compiled(tmp_path, f'{top}\n[[pin]]\nitem = "i8"\nposition = 1\nforce = {force}')
    made = rules.apply(
        np.array([DOWN], np.float32), np.array(["u0"]), csr_array((1, N_ITEMS), dtype=np.float32), 2
    )
    assert ids_of(made)[0][0] == first
    assert "i8" not in ids_of(made)[0][1:]
    assert made.relaxed()["pin"] == (first != "i8")


def test_a_seen_item_is_pinned_only_by_force(tmp_path: Path) -> None:
    for force, first in (("false", "i0"), ("true", "i5")):
        rules = compiled(tmp_path, f'[[pin]]\nitem = "i5"\nposition = 1\nforce = {force}')
        assert lists(rules, DOWN, 1, given_items=[5]) == [first]


def test_pins_of_single_users_join_those_of_everybody(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("user,item,position\nu1,i7,2\nu1,i6,3\nu9,i0,3\n")
    rules = compiled(tmp_path, 'pins_file = "p.csv"\n[[pin]]\nitem = "i8"\nposition = 1')
    made = lists(rules, [DOWN] * 2, 4, users=("u0", "u1"))
    assert made == [["i8", "i0", "i1", "i2"], ["i8", "i7", "i6", "i0"]]
    assert rules.pool(4) == 7


def test_a_pin_beyond_the_list_is_refused(tmp_path: Path) -> None:
    rules = compiled(tmp_path, '[[pin]]\nitem = "i8"\nposition = 3')
    with pytest.raises(InputError, match="position 3, lists have 2 places"):
        lists(rules, DOWN, 2)


def test_a_quota_beyond_the_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    text = '[attributes]\nfile = "a.csv"\n[[at_least]]\nattribute = "new"\nvalue = "no"\ncount = 2'
    with pytest.raises(InputError, match="count 2 is more than the 1 places"):
        lists(compiled(tmp_path, text), DOWN, 1)


def test_a_list_length_beyond_the_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose 1 to 9"):
        lists(compiled(tmp_path, ""), DOWN, 10)


def test_a_score_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="user 0"):
        lists(compiled(tmp_path, ""), [np.nan] * N_ITEMS, 1)


def test_arguments_of_different_users_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one row a user"):
        lists(compiled(tmp_path, ""), [DOWN] * 2, 1, users=("u0", "u1", "u2"))


def test_a_block_without_users_has_no_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(ATTRIBUTES)
    rule = '[attributes]\nfile = "a.csv"\n[[at_most]]\nattribute = "genre"\ncount = 1\n'
    rules = compiled(tmp_path, rule + '[[pin]]\nitem = "i8"\nposition = 1')
    made = rules.apply(
        np.zeros((0, N_ITEMS), np.float32), np.array([], dtype=object), csr_array((0, N_ITEMS)), 2
    )
    assert made.lists.items_BK.shape == (0, 2)

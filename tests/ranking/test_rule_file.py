import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdMap
from recsys_vae.ranking.rule_file import read_rules
from recsys_vae.ranking.rule_tables import read_rule_table
from recsys_vae.ranking.rules import Rules

ATTRIBUTES = '[attributes]\nfile = "good.csv"\n'
REQUIRE = ATTRIBUTES + "[[require]]\nattribute = "
AT_MOST = ATTRIBUTES + "[[at_most]]\nattribute = "
AT_LEAST = ATTRIBUTES + "[[at_least]]\nattribute = "
ITEMS = IdMap.of(["a", "b", "c"])


def refused(folder: Path, text: str) -> str:
    """Read and compile rules that must be refused; gives the sentence."""
    (folder / "good.csv").write_text("item,genre,price\na,Drama,1\nb,War,\n")
    path = folder / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Rules.compile(read_rules(path), ITEMS)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not re.search(r"[.!?]\s+[A-Z]", re.sub(r"\(.*\)", "()", sentence)), sentence
    assert re.search(r"(rules \S+rules\.toml|\.(csv|parquet|txt))", sentence)
    return sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("= 3", "cannot be read (Invalid statement"),
        ("mask_sen = true", "mask_sen: there is no such key"),
        (
            "[items]\nmask_seen = true",
            "items, mask_seen: there is no such key: correct it, or move",
        ),
        ("mask_seen = 1", "mask_seen: input should be a valid boolean, not 1"),
        ("minimum_score = nan", "minimum_score: input should be a finite number"),
        ('minimum_score = "high"', "minimum_score: input should be a valid number, not 'high'"),
        ("items = 3", "items: it must be a table of keys, not 3"),
        ("[items]\nallow = []", "items, allow: it is empty: name at least one"),
        ('[items]\nallow = "a"', "items, allow: it must be a list"),
        ("[items]\nallow = [1.5]", "items, allow, number 1: it must be a whole number"),
        ('[items]\ndeny = ["a", true]', "items, deny, number 2: it must be a whole number"),
        ('[items]\nallow = ["x", "y"]', "items.allow: the model knows none of these items, the "),
        ('[items]\ndeny = ["a", "b", "c"]', "leave no item to recommend at 20"),
        ("[popularity]", "popularity, discount: it is missing: correct it"),
        ("[popularity]\ndiscount = -1", "popularity, discount: input should be greater than or"),
        ("[popularity]\ndiscount = 1", "popularity: how many users took each item"),
        ('[[pin]]\nitem = "a"', "pin, number 1, position: it is missing"),
        ('[[pin]]\nitem = "a"\nposition = 0', "pin, number 1, position: input should be greater"),
        ('[[pin]]\nitem = "x"\nposition = 1', "pin: the model knows none of these items"),
        ('pin = [{item="a", position=1}, {item="b", position=1}]', "two pins have the same pos"),
        ('pin = [{item="a", position=1}, {item="a", position=2}]', "an item is pinned twice"),
        ("pins_force = true", "pins_force needs a pins_file"),
        ('[[at_most]]\nattribute = "genre"\ncount = 1', "need a table [attributes]"),
        (AT_MOST + '"genre"\ncount = 0', "at_most, number 1, count: input should be greater"),
        (AT_MOST + '"colour"\ncount = 1', "at_most, number 1: "),
        (AT_MOST + '"colour"\ncount = 1', "has no attribute 'colour', it has genre, price"),
        (AT_MOST + '"item"\ncount = 1', "has no attribute 'item'"),
        (AT_MOST + '"genre"\ncount = 1\nvalue = "Wra"', "has the genre 'Wra': correct the value"),
        (AT_LEAST + '"genre"\ncount = 1', "at_least, number 1, value: it is missing"),
        (AT_LEAST + '"genre"\nvalue = "Wra"\ncount = 1', "at_least, number 1: no item of"),
        (
            AT_LEAST + '"genre"\nvalue = "War"\ncount = 2\n'
            '[[at_most]]\nattribute = "genre"\ncount = 1',
            "at_least, number 1: an at_most allows no more than 1 with the genre 'War'",
        ),
        (REQUIRE + '"genre"', "require, number 1: give one of in, not_in, and min or max"),
        (REQUIRE + '"genre"\nin = ["War"]\nmin = 1', "require, number 1: give one of in"),
        (REQUIRE + '"genre"\namong = ["War"]', "require, number 1, among: there is no such key"),
        (REQUIRE + '"price"\nmin = 2\nmax = 1', "require, number 1: min is above max"),
        (REQUIRE + '"genre"\nmin = 2', "good.csv, row 1: 'genre' is no finite number"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(tmp_path, text)


def test_ids_may_have_another_customary_name(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text("movieId,uid,genres\na,1,War\nb,2,Drama\n")
    table = read_rule_table(path)
    assert table.ids("item").to_pylist() == ["a", "b"]
    assert table.ids("user").to_pylist() == ["1", "2"]
    assert table.labels("uid")[1][:2] == [("1",), ("2",)]  # still there by its own name
    path.write_text('movieId,note\n"a\nb",x\n')
    with pytest.raises(InputError, match="'movieId' goes on over a line break"):
        read_rule_table(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent.csv", None, "absent.csv does not exist"),
        ("t.txt", "item\na\n", "its kind is unknown"),
        ("t.csv", "", "is no table"),
        ("t.csv", "ids\na\n", "has no column 'item' (its columns: ids)"),
        ("t.csv", "item,item\na,b\n", "two columns of the same name"),
        ("t.csv", "item\n", "t.csv has no rows, so that no item is allowed"),
        ("t.csv", 'item,note\na,"x\nb,y\n', "a quote is opened and never closed"),
        ("t.csv", "item,note\na,x\nb\n", "Expected 2 columns, got 1"),
        ("t.csv", "item,note\na,x\n ,y\n", "t.csv, row 2: the item id is missing"),
        ("t.csv", "item\nx\ny\n", "items.allow_file: the model knows none of these items"),
        ("t.csv", b"item\n\xff\n", "export it as UTF-8"),
        ("t.parquet", b"PAR1nonsense", "t.parquet cannot be read"),
    ],
)
def test_a_file_of_rules_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: str | bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert told in refused(tmp_path, f'[items]\nallow_file = "{name}"')


@pytest.mark.parametrize(
    ("key", "content", "told"),
    [
        ('availability = {file = "t.csv"}', "item,from\na,\n", "has no column 'until'"),
        (
            'availability = {file = "t.csv"}',
            "item,from,until\na,,\nb,soon,\n",
            "row 2: 'from' is no time: write it like 2026-01-31T12:00",
        ),
        (
            'availability = {file = "t.csv"}',
            "item,from,until\na,2026-01-02,2026-01-02\n",
            "row 1: 'until' is not after 'from'",
        ),
        ('attributes = {file = "t.csv"}', "item,genre\n", "has no rows"),
        ('attributes = {file = "t.csv"}', "item,genre\na,x\nb,x\na,y\n", "row 3: the item has a"),
        ('pins_file = "t.csv"', "user,item,position\nu,a,1.5\n", "row 1: the position must be"),
        ('pins_file = "t.csv"', "user,item,position\nu,a,\n", "row 1: the position must be"),
        ('pins_file = "t.csv"', "user,item,position\nu,a,0\n", "row 1: the position must be"),
        (
            'pins_file = "t.csv"',
            "user,item,position\nu,a,1\nu,b,1\n",
            "row 2: the user has another",
        ),
        ('pins_file = "t.csv"', "user,item,position\nu,a,1\nu,a,2\n", "row 2: the item is pinned"),
        (
            'pins_file = "t.csv"\n[[pin]]\nitem = "a"\nposition = 1',
            "user,item,position\nu,b,1\n",
            "row 1: a [[pin]] for everybody has this position",
        ),
        (
            'pins_file = "t.csv"\n[[pin]]\nitem = "a"\nposition = 1',
            "user,item,position\nu,a,2\n",
            "row 1: the item is pinned for everybody",
        ),
        ('users = {deny_file = "t.csv"}', "user,item\n,a\n", "row 1: the user id is missing"),
    ],
)
def test_a_row_that_is_no_rule_is_refused_by_its_number(
    tmp_path: Path, key: str, content: str, told: str
) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert told in refused(tmp_path, key)


@pytest.mark.parametrize("bad", [[1.5, 2.5], [True, False]])
def test_ids_of_another_type_are_refused(tmp_path: Path, bad: list[object]) -> None:
    pd.DataFrame({"item": bad}).to_parquet(tmp_path / "t.parquet")
    told = refused(tmp_path, '[items]\nallow_file = "t.parquet"')
    assert "ids must be integers or text" in told


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml cannot be read"):
        read_rules(tmp_path / "absent.toml")


def test_lists_of_single_users_and_denied_items_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("user,item,position,from,until\n")
    path = tmp_path / "rules.toml"
    path.write_text(
        'pins_file = "none.csv"\nitems = {deny_file = "none.csv"}\n'
        'availability = {file = "none.csv"}\n'
        '[users]\nallow_file = "none.csv"\ndeny_file = "none.csv"'
    )
    rules = Rules.compile(read_rules(path), ITEMS)
    assert rules.allow is None
    assert rules.pins is None
    assert rules.permitted_I is not None
    assert rules.permitted_I.all()


def fingerprint(folder: Path, text: str, file: str = "item\na\n", name: str = "f.csv") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(file)
    (folder / "rules.toml").write_text(text)
    return read_rules(folder / "rules.toml").fingerprint


def test_the_fingerprint_is_of_what_the_rules_say(tmp_path: Path) -> None:
    text = 'minimum_score = 1\n[items]\nallow_file = "f.csv"'
    one = fingerprint(tmp_path / "one", text)
    assert re.fullmatch("[0-9a-f]{64}", one)
    same = '# a comment\nitems = {allow_file = "g.csv"}\nmask_seen = true\nminimum_score = 1.0'
    assert fingerprint(tmp_path / "two", same, name="g.csv") == one
    others = {
        fingerprint(tmp_path, text.replace("= 1", "= 2")),
        fingerprint(tmp_path, text.replace("allow", "deny")),
        fingerprint(tmp_path, "mask_seen = false\n" + text),
        fingerprint(tmp_path, text, file="item\nb\n"),
        fingerprint(tmp_path, "minimum_score = 1"),
    }
    assert len(others | {one}) == 6


def test_ids_of_text_are_not_taken_for_numbers(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('[items]\nallow = ["07", 8, "9"]')
    rules = Rules.compile(read_rules(tmp_path / "rules.toml"), IdMap.of([7, 8, 9]))
    assert rules.unknown == {"items.allow": 1}
    assert rules.permitted_I is not None
    assert np.flatnonzero(rules.permitted_I).tolist() == [1, 2]


def test_the_example_of_the_guide_can_be_compiled(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "rules.toml").write_text(example)
    items = IdMap.of([1, 318, 1210, 2571])
    (tmp_path / "pins.csv").write_text("user,item,position\n5,1,2\n")
    pd.DataFrame({"item": [1, 318, 1210]}).to_parquet(tmp_path / "shop.parquet")
    pd.DataFrame({"user": [5], "item": [1]}).to_parquet(tmp_path / "licences.parquet")
    (tmp_path / "complaints.csv").write_text("user,item\n6,1\n")
    (tmp_path / "windows.csv").write_text("item,from,until\n1,2020-01-01,\n")
    (tmp_path / "movies.csv").write_text(
        "item,genre,price,new\n1,Documentary|Adult,5,yes\n318,Drama,9.5,yes\n2571,Film-Noir,3,no\n"
    )
    rules = Rules.compile(read_rules(tmp_path / "rules.toml"), items, np.array([9, 9, 1, 1]))
    assert rules.permitted_I is not None
    assert rules.permitted_I.tolist() == [False, True, False, False]
    assert rules.lists.names == ("at_least 2 new yes",)

"""Attributes from odd files: read as they are meant, or refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.evaluation.segments import ItemSegments, UserSegments
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.interactions.interactions import csr_from_pairs
from recsys_vae.splitting import FoldIn
from recsys_vae.steps.attributes import attribute_segments
from recsys_vae.steps.evaluate import _segments

USERS = [1, 2, 7]


def fold(users: list[Any] = USERS) -> FoldIn:
    ids, items = IdMap.of(users), IdMap.of(["007", "8", "NA"])
    parts = []
    for column in (0, 1):
        rows = np.arange(len(ids))
        ones = np.ones(len(ids), dtype=np.float32)
        shape = (len(ids), len(items))
        parts.append(
            Interactions(ids, items, csr_from_pairs(rows, np.full(len(ids), column), ones, shape))
        )
    return FoldIn(*parts)


def parts_of(reference: str, judged: FoldIn) -> dict[str, list[bool]]:
    found = attribute_segments(reference, judged, "age")
    return {label: flags.tolist() for label, flags in found.masks()}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "1,a\n2,b\n7,a\n",
        "1,a\nnobody,c\n2,b\n7,a\n",
        "1,a\n99999999999999999999,c\n2,b\n7,a\n,c\n",
        "1,a\n2.5,c\n2,b\n7,a\n1,a\n007,b\n",
    ],
)
def test_other_ids_beside_those_that_are_judged_do_not_matter(text: str) -> None:
    Path("ages.csv").write_text(f"userId,age\n{text}")
    assert parts_of("ages.csv:age", fold()) == {"a": [True, False, True], "b": [False, True, False]}


def test_text_stays_as_it_is_written() -> None:
    Path("items.csv").write_text("movieId,age\n007,NA\n8,1234567\nNA,1234568\n")
    found = attribute_segments("items.csv:age", fold(), "age")
    assert isinstance(found, ItemSegments)
    assert {label: flags.tolist() for label, flags in found.masks()} == {
        "1234567": [False, True, False],
        "1234568": [False, False, True],
        "NA": [True, False, False],
    }
    Path("gaps.csv").write_text("userId,age\nu1,(unknown)\nu2,\nu3,old\n")
    assert parts_of("gaps.csv:age", fold(["u1", "u2", "u3"])) == {
        "(unknown)": [True, True, False],
        "old": [False, False, True],
    }


@pytest.mark.parametrize(
    "values",
    [
        [["a", "b"], ["b"], ["a"]],
        ["a|b", "b ", " a"],
        pd.Categorical(["a|b", "b", "a"]),
    ],
)
@pytest.mark.parametrize("ids", [[1, 2, 7], [1.0, 2.0, 7.0], ["1", "2", "7"]])
def test_parquet_of_any_type(values: Any, ids: list[Any]) -> None:
    pd.DataFrame({"userId": ids, "age": values}).to_parquet("ages.parquet")
    assert parts_of("ages.parquet:age", fold()) == {
        "a": [True, False, True],
        "b": [True, True, False],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("userId,age\n1,a\n2,b\n1,b\n", r"gives user '1' the values 'a' and 'b'"),
        ("userId,age\n1,a,x\n2,b,x\n", "cannot be read"),
        ("userId,age\n5,a\n", "none of its ids is a judged user"),
        ("", "cannot be read"),
    ],
)
def test_what_is_not_clear_is_refused(text: str, message: str) -> None:
    Path("ages.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        attribute_segments("ages.csv:age", fold(), "age")


def test_columns_of_one_name_are_kept_apart() -> None:
    for name in ("one", "two"):
        Path(f"{name}.csv").write_text("movieId,age\n8,a\n")
    asked = ("one.csv:age", "activity", "two.csv:age", "activity", "one.csv:age")
    users, items = _segments(asked, fold(), None)
    assert [one.name for one in users] == ["activity"]
    assert [one.name for one in items] == ["age", "two.csv:age"]
    assert all(isinstance(one, UserSegments) for one in users)

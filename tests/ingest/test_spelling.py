"""Integers in text are read as such only where no two spellings could become one id."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_vae.ingest import delimited, text
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import IdMap, load_interactions
from recsys_vae.scoring.histories import HistorySource

ODD = ["007", "0x7", "-0", "-007", " 7", "7 ", "+7", "00", "7.0", "NA", "null", "seven", "\t7"]


def ids_of(path: Path, folder: Path, role: str = "items") -> list[object]:
    options = CleaningOptions(min_user_items=1, max_rejected=1.0)
    store_rows(FileSource(path), options, folder / "out", folder)
    ids = getattr(load_interactions(folder / "out"), role)
    return list(ids.ids(np.arange(len(ids))))


def write(path: Path, rows: list[tuple[str, str]], delimiter: str = ",") -> Path:
    lines = [delimiter.join(("user", "item")), *(delimiter.join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_an_odd_spelling_stays_an_id_of_its_own(
    tmp_path: Path, odd: str, place: int, delimiter: str
) -> None:
    rows = [("1", "7"), ("2", "7"), ("2", "8")]
    rows.insert(place, ("3", odd))
    found = ids_of(write(tmp_path / "rows.csv", rows, delimiter), tmp_path)
    assert found == sorted({"7", "8", odd})


@pytest.mark.parametrize("odd", ["007", "0x7", "u7"])
def test_it_does_so_where_only_a_later_block_has_it(
    tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    rows = [(str(n), str(n % 9)) for n in range(60)]
    expected = {str(n) for n in range(9)} | {odd}
    path = write(tmp_path / "rows.csv", [*rows, ("60", odd)])
    assert ids_of(path, tmp_path) == sorted(expected)
    path = write(tmp_path / "rows.csv", [("60", odd), *rows])
    assert ids_of(path, tmp_path) == sorted(expected)


@pytest.mark.parametrize("odd", ["007", "u7"])
def test_readers_of_frames_and_histories_do_so_too(
    tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    rows = [(str(n), str(n % 9)) for n in range(60)]
    path = write(tmp_path / "rows.csv", [*rows, (odd, odd)])
    frame = read_interactions(path)
    assert frame["user"].tolist() == [*(user for user, _ in rows), odd]
    assert frame["item"].tolist() == [*(item for _, item in rows), odd]
    items = IdMap.of([*(str(n) for n in range(9)), odd])
    users = [user for block in HistorySource(path=path).blocks(items) for user in block.users]
    assert users == frame["user"].tolist()
    given = sum(block.given.nnz for block in HistorySource(path=path).blocks(items))
    assert given == len(rows) + 1


def test_plain_integers_are_integers(tmp_path: Path) -> None:
    rows = [("10", "0"), ("0", "10"), ("10", "100"), ("5", "0")]
    path = write(tmp_path / "rows.csv", rows)
    assert ids_of(path, tmp_path) == [0, 10, 100]
    assert ids_of(path, tmp_path, "users") == [0, 5, 10]


SPELLED = st.one_of(
    st.integers(0, 10**6).map(str), st.sampled_from(["007", "0", "00", "-0", "0x1"])
)


@given(st.lists(st.tuples(SPELLED, SPELLED), min_size=1, max_size=20), st.integers(1, 9))
def test_the_check_finds_every_nought_that_leads(rows: list[tuple[str, str]], at_once: int) -> None:
    data = "\n".join(",".join(row) for row in rows).encode() + b"\n"
    usual = all(
        field == str(int(field, 16 if "x" in field else 10)) for row in rows for field in row
    )
    with pytest.MonkeyPatch.context() as patch:
        # Wherever the pieces that are looked at begin and end.
        patch.setattr(delimited, "_BYTES_AT_ONCE", at_once)
        plain = delimited._plainly_spelled(data, ",", '"')
    # A text that begins with a nought has nothing before it to judge that by: refused with caution.
    assert plain == (usual and not data.startswith(b"0"))


def test_decimals_do_not_hide_integers() -> None:
    assert delimited._plainly_spelled(b"1,7,0.5\n2,10,3.05\n2,8,3.0\n", ",", '"')
    assert not delimited._plainly_spelled(b"1,7,0.5\n2,010,3.05\n", ",", '"')


@pytest.mark.parametrize("quote", ["|", "~", "'"])
def test_quotes_do_not_hide_an_odd_spelling(tmp_path: Path, quote: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"user,item\n1,7\n1,{quote}007{quote}\n2,8\n")
    options = CleaningOptions(min_user_items=1)
    store_rows(FileSource(path, ReadOptions(quote=quote)), options, tmp_path / "out", tmp_path)
    items = load_interactions(tmp_path / "out").items
    assert list(items.ids(np.arange(len(items)))) == ["007", "7", "8"]

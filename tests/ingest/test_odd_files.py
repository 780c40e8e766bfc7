"""Files that are odd in a way that once was misread without a word."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest import text
from recsys_vae.ingest.catalogue import read_catalogue
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import load_interactions
from recsys_vae.steps.cache import content_sum
from recsys_vae.steps.ready import take_over
from tests.conftest import tracking_store


def read(tmp_path: Path, content: str, name: str = "x.csv", **options: object) -> pd.DataFrame:
    (tmp_path / name).write_text(content)
    return read_interactions(tmp_path / name, ReadOptions(**options))  # type: ignore[arg-type] # of a test


def pairs(frame: pd.DataFrame) -> list[tuple[object, object]]:
    return list(zip(frame["user"].tolist(), frame["item"].tolist(), strict=True))


@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_dates_as_digits_are_dates_wherever_they_stand(kind: str, tmp_path: Path) -> None:
    days = [20200102, 20200103, 1577923200]
    table = pd.DataFrame({"user": 1, "item": [0, 1, 2], "timestamp": days})
    path = tmp_path / ("x.csv" if kind == "text" else "x.parquet")
    if kind == "text":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    cleaning = CleaningOptions(min_user_items=1)
    store_rows(FileSource(path), cleaning, tmp_path / "out", tmp_path)
    frame = load_interactions(tmp_path / "out").frame()
    found = pd.to_datetime(frame["timestamp"], unit="ms").dt.strftime("%Y-%m-%d").tolist()
    assert found == ["2020-01-02", "2020-01-03", "2020-01-02"]


def test_rows_of_the_netflix_prize_keep_their_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = read(
        tmp_path, "1:\n10,5,2005-01-01\n2: \n20,5,2005-01-01\n3:\n30,5,2005-01-01\n", "n.txt"
    )
    assert pairs(frame) == [(10, 1), (20, 2), (30, 3)]
    # Times with colons are no items, wherever a block ends.
    monkeypatch.setattr(text, "BLOCK_BYTES", 64)
    rows = "".join(f"{user},5,2005-01-01 10:2{user % 10}:00\n" for user in range(10, 18))
    assert set(read(tmp_path, f"1:\n{rows}", "t.txt")["item"]) == {1}


def test_rows_with_named_columns_are_no_adjacency_list(tmp_path: Path) -> None:
    columns = ColumnNames(user="1", item="2")
    frame = read(tmp_path, "1 2 5 100 7\n1 3 4 200 8\n", "r.txt", columns=columns)
    assert pairs(frame) == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("userId,movieId\n1,10\n2,11\n", [(1, 10), (2, 11)]),
        ("who,what\nann,10\nbob,11\n", [("ann", 10), ("bob", 11)]),
        ("ann,emma\nbob,ulysses\n", [("ann", "emma"), ("bob", "ulysses")]),
        ("ann,7\nbob,8\n", [("ann", 7), ("bob", 8)]),
    ],
    ids=["names above numbers", "names above words and numbers", "words", "no name"],
)
def test_columns_by_number_do_not_make_a_header_a_row(
    tmp_path: Path, text: str, expected: list[tuple[object, object]]
) -> None:
    assert pairs(read(tmp_path, text, columns=ColumnNames(user="1", item="2"))) == expected


def test_a_blank_line_above_the_header_is_no_row(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, "  \n\t\r\nuser,item\n1,2\n3,4\n")) == [(1, 2), (3, 4)]


def test_titles_without_a_header_are_found_by_their_place(tmp_path: Path) -> None:
    path = tmp_path / "movies.dat"
    path.write_text("1193::Cuckoo (1975)::Drama\n2::Jumanji (1995)::Adventure\n")
    assert read_catalogue(path).titles([2, 1193]) == ["Jumanji (1995)", "Cuckoo (1975)"]
    path.write_text("1193\n2\n")
    with pytest.raises(InputError, match="give at least items and titles"):
        read_catalogue(path)


def test_a_member_of_an_archive_has_content(tmp_path: Path) -> None:
    sums = []
    for content in ("a", "b"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("ratings.csv", content)
        sums.append(content_sum(tmp_path / "a.zip" / "ratings.csv"))
    assert sums[0] != sums[1] != content_sum(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ingest", "--data", ""], "--data is empty: name a file, or 'sample'"),
        (["main", "--data="], "--data is empty: name a file, or 'sample'"),
        (
            ["ingest", "--data", "{}/g.csv", "--threshold", "4"],
            "g.csv has no ratings, and --threshold 4 is",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "g.csv").write_text("userId,movieId,grade\n1,2,1\n1,3,5\n")
    filled = [one.format(tmp_path) for one in arguments]
    with pytest.raises(SystemExit) as ended:
        main([*filled, "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_published_parts_are_read_alike(tmp_path: Path, empty_database: Path) -> None:
    lists = [f"{u} {u} {u + 1} {u + 2}\n" for u in range(9)]
    (tmp_path / "train.txt").write_text("".join(["9 1\n", *lists]))
    # Two items of every user: rows of user, item and rating, as it seems.
    (tmp_path / "test.txt").write_text("".join(f"{u} {u + 3} {u + 4}\n" for u in range(7)))
    with tracking_store(tmp_path, empty_database):
        made = take_over(
            train=Path("train.txt"), test=Path("test.txt"), validation_share=0.4, out=Path("split")
        )
    assert len(made.test.held_out) == 14 - made.description["counts"].get(
        "test_interactions_dropped_unknown_item", 0
    )
    assert len(made.test.held_out) > 7


def test_words_for_the_present_are_no_times(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("user,item,ts\n1,2,now\n1,3,2020-01-01\n1,4,today\n")
    cleaning = CleaningOptions(min_user_items=1, max_rejected=1)
    done = store_rows(FileSource(tmp_path / "x.csv"), cleaning, tmp_path / "out", tmp_path)
    assert done.account.rejected == {"the time cannot be read": 2}


def test_titles_of_other_items_are_told_of(
    tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking_store(tmp_path, empty_database):
        Path("r.csv").write_text("user,item\n1,2\n1,3\n")
        Path("titles.csv").write_text("item,title\n100,Film\n")
        titles = ["--items", "titles.csv", "--min-user-items", "1"]
        main(["ingest", "--data", "r.csv", *titles, "--out", "data"])
        assert "the titles know none of the 2 items" in capsys.readouterr().out
        Path("titles.csv").write_text("item,title\n3,Film\n")
        main(["ingest", "--data", "r.csv", *titles, "--out", "data"])
        assert "the titles know" not in capsys.readouterr().out


def test_rows_of_a_folder_are_counted_in_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("item,title\n1,A\n2,B\n")
    (tmp_path / "b.csv").write_text("item,title\n3,C\n4,D,E\n")
    with pytest.raises(InputError, match=r"b\.csv, row 2: "):
        read_catalogue(tmp_path)

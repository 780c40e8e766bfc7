"""Files as people really have them: late types, other encodings, lists, odd ids."""

import os
from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.catalogue import read_catalogue
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdMap
from recsys_vae.scoring.histories import HistorySource

NAMES = ReadOptions()


@pytest.mark.parametrize("column", ["rating", "comment", "timestamp"])
def test_a_column_whose_type_shows_late_streams_as_it_reads(column: str, tmp_path: Path) -> None:
    # pyarrow guesses types from the first megabyte; the last row says otherwise.
    rows = 150_000
    last = {"rating": "4.5", "comment": "words", "timestamp": "2020-01-01"}[column]
    early = "4" if column == "rating" else ""
    lines = [f"{row},1,{early}" for row in range(1_000_000, 1_000_000 + rows)]
    text = "\n".join([f"user,item,{column}", *lines, f"9999999,1,{last}"])
    path = tmp_path / "late.csv"
    path.write_text(text + "\n")
    blocks = list(HistorySource(path=path, threshold=3.5).blocks(IdMap.of([1])))
    assert sum(len(block.users) for block in blocks) == rows + 1
    assert sum(block.below for block in blocks) == 0
    assert len(read_interactions(path, NAMES)) == rows + 1


@pytest.mark.parametrize("header", ["user,item,größe", "user,item,x"])
def test_text_in_another_encoding_is_refused_with_the_remedy(header: str, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(f"{header}\n1,ü,3\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.csv.*UTF-8"):
        read_interactions(path, NAMES)
    with pytest.raises(InputError, match=r"latin.csv.*UTF-8"):
        list(HistorySource(path=path).blocks(IdMap.of(["ü"])))


def test_titles_in_another_encoding_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_bytes("item,title\n1,Amélie\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"titles.csv.*UTF-8"):
        read_catalogue(path)


def test_genres_may_be_lists(tmp_path: Path) -> None:
    genres: list[list[str] | None] = [["Drama", "War"], [], None]
    frame = pd.DataFrame({"item": [1, 2, 3], "title": ["a", "b", "c"], "genres": genres})
    frame.to_parquet(tmp_path / "titles.parquet")
    catalogue = read_catalogue(tmp_path / "titles.parquet")
    assert catalogue.genres([1, 2, 3]) == ["Drama|War", "", ""]


def test_titles_that_are_no_text_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"item": [1], "title": [{"en": "a"}]})
    frame.to_parquet(tmp_path / "titles.parquet")
    with pytest.raises(InputError, match=r"titles.parquet, column 'title'.*strings"):
        read_catalogue(tmp_path / "titles.parquet")


def test_one_odd_id_in_the_titles_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("item,title\n1,One\ntt7,Seven\n")
    assert read_catalogue(path).titles([1, 2]) == ["One", "2"]


def test_the_columns_of_the_ratings_are_not_asked_of_the_titles(tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("itemId,title\n1,One\n")
    names = ReadOptions(columns=ColumnNames(user="listener", item="song", rating="plays"))
    assert read_catalogue(path, names).titles([1]) == ["One"]
    path.write_text("song,words\n1,One\n")
    assert read_catalogue(
        path, ReadOptions(columns=ColumnNames(item="song", title="words"))
    ).titles([1]) == ["One"]
    with pytest.raises(InputError, match="--title-column"):
        read_catalogue(path, names)


def test_a_table_of_thousands_of_columns_is_named_in_part(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(",".join(f"c{n}" for n in range(3_000)) + "\n" + ",".join(["1"] * 3_000) + "\n")
    with pytest.raises(InputError, match=r"c19, \.\.\.") as caught:
        read_interactions(path, NAMES)
    assert len(str(caught.value)) < 1_000


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="no regular file"):
        read_interactions(tmp_path / "pipe.csv", NAMES)


def test_an_infinite_rating_is_not_liked(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    path.write_text("user,item,rating\n1,1,inf\n1,2,nan\n1,3,5\n")
    (block,) = HistorySource(path=path, threshold=3.5).blocks(IdMap.of([1, 2, 3]))
    assert block.given.indices.tolist() == [2]
    assert block.below == 2

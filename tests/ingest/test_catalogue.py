from pathlib import Path

import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.catalogue import Catalogue, read_catalogue
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.reading import ReadOptions


def text(folder: Path, content: str, name: str = "items.csv") -> Path:
    (folder / name).write_text(content, "utf-8")
    return folder / name


def test_titles_and_genres_are_found_by_convention(tmp_path: Path) -> None:
    file = text(tmp_path, 'movieId,title,genres\n7,"Alien, the first",Horror|Space\n9,Brazil,\n')
    catalogue = read_catalogue(file)
    assert catalogue.titles([9, 7]) == ["Brazil", "Alien, the first"]
    assert catalogue.genres([9, 7]) == ["", "Horror|Space"]


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = text(tmp_path, "item,title,key,heading,shelf\n1,no,7,yes,A\n")
    names = ReadOptions(columns=ColumnNames(item="key", title="heading", genres="shelf"))
    catalogue = read_catalogue(file, names)
    assert (catalogue.titles([7]), catalogue.genres([7])) == (["yes"], ["A"])


def test_an_item_without_a_title_stands_for_itself(tmp_path: Path) -> None:
    catalogue = read_catalogue(text(tmp_path, "item,title\nä,Alien\n"))
    assert catalogue.titles(["ä", "b"]) == ["Alien", "b"]
    assert catalogue.genres(["ä", "b"]) == ["", ""]
    assert Catalogue.empty().titles([3]) == ["3"]


def test_of_a_repeated_item_the_first_row_counts(tmp_path: Path) -> None:
    catalogue = read_catalogue(text(tmp_path, "item,title\n7,first\n8,x\n7,second\n"))
    assert catalogue.titles([7]) == ["first"]
    assert len(catalogue.frame) == 2


def test_titles_that_are_numbers_are_text(tmp_path: Path) -> None:
    assert read_catalogue(text(tmp_path, "item,title\n7,1984\n")).titles([7]) == ["1984"]


@pytest.mark.parametrize("ids", [[7, 9], ["ä", "b"]])
def test_a_catalogue_survives_the_disk(ids: list[int] | list[str], tmp_path: Path) -> None:
    frame = pd.DataFrame({"title": ["Été", ""], "genres": ["a|b", ""]}, index=ids, dtype=object)
    Catalogue(frame).save(tmp_path / "items.parquet")
    again = read_catalogue(tmp_path / "items.parquet")
    assert again.titles(ids) == ["Été", ""]
    assert again.genres(ids) == ["a|b", ""]
    assert again.frame.index.tolist() == ids
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("item,title\n", "has no rows"),
        ("key,title\n1,a\n", "no item column"),
        ("item,words\n1,a\n", "no title column"),
        ("item,title\n1,a\n,b\n", "row 2: the item id is missing"),
        ("item,title,title\n1,a,b\n", "title"),
    ],
)
def test_what_is_no_catalogue_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_catalogue(text(tmp_path, content))
    assert "items.csv" in str(caught.value)

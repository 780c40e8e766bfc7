import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions

NAMES = ReadOptions()
FRAME = pd.DataFrame(
    {"userId": [2, 1, 2], "movieId": ["x", "ü", "z, z"], "rating": [4.0, 0.5, 3.0], "ts": [9, 8, 7]}
)


def written(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix in {".parquet", ".pq"}:
        frame.to_parquet(path)
    else:
        separator = "," if ".csv" in path.name.lower() else "\t"
        frame.to_csv(path, sep=separator, index=False)
    return path


def text(folder: Path, content: str, name: str = "r.csv") -> Path:
    (folder / name).write_text(content, "utf-8")
    return folder / name


@pytest.mark.parametrize(
    "name", ["r.csv", "r.CSV", "r.tsv", "r.txt", "r.csv.gz", "r.tsv.gz", "r.parquet", "r.pq"]
)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    frame = read_interactions(written(FRAME, tmp_path / name), NAMES)
    assert frame.to_dict("list") == {
        "user": [2, 1, 2],
        "item": ["x", "ü", "z, z"],
        "rating": [4.0, 0.5, 3.0],
    }


@pytest.mark.parametrize(
    ("user", "item"),
    [("userId", "movieId"), ("user_id", "item_id"), ("USER", "ITEM"), ("uid", "sid")],
)
def test_columns_are_found_by_convention(user: str, item: str, tmp_path: Path) -> None:
    frame = read_interactions(text(tmp_path, f"x,{item},{user}\n1,2,3\n"), NAMES)
    assert frame.to_dict("list") == {"user": [3], "item": [2]}


def test_columns_can_be_named(tmp_path: Path) -> None:
    file = text(tmp_path, "user,item,rating,who,what,how\n1,2,3,a,b,4\n")
    frame = read_interactions(
        file, ReadOptions(columns=ColumnNames(user="who", item="what", rating="how"))
    )
    assert frame.to_dict("list") == {"user": ["a"], "item": ["b"], "rating": [4.0]}


@pytest.mark.parametrize("role", ["user", "item", "rating"])
def test_a_named_column_that_is_missing_is_refused_by_its_option(role: str, tmp_path: Path) -> None:
    file = text(tmp_path, "user,item,rating\n1,2,3\n")
    with pytest.raises(InputError, match=rf"r\.csv has no column 'x'.*--{role}-column"):
        read_interactions(file, ReadOptions(columns=ColumnNames(**{role: "x"})))


@pytest.mark.parametrize("role", ["user", "item"])
def test_a_column_that_cannot_be_recognised_is_asked_for(role: str, tmp_path: Path) -> None:
    file = written(pd.DataFrame({"user": [1], "item": [2]}).rename(columns={role: "x"}),
                   tmp_path / "r.csv")  # fmt: skip
    with pytest.raises(InputError, match=rf"r\.csv has no {role} column.*--{role}-column"):
        read_interactions(file, NAMES)


@pytest.mark.parametrize("column", ["user", "item", "rating"])
def test_a_column_that_stands_there_twice_is_refused(column: str, tmp_path: Path) -> None:
    file = text(tmp_path, f"user,item,rating,{column}\n1,2,3,4\n")
    with pytest.raises(InputError, match=column):
        read_interactions(file, NAMES)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", "", "is empty"),
        ("empty.parquet", "", "is empty"),
        ("header.csv", "user,item\n", "has no rows"),
        ("header.csv", "user,item", "has no rows"),
        ("r.xlsx", "user,item\n1,2\n", "unknown suffix '.xlsx'"),
        ("r.xlsx.gz", "user,item\n1,2\n", "unknown suffix '.xlsx'"),
        ("r", "user,item\n1,2\n", "unknown suffix ''"),
        ("r.parquet", "user,item\n1,2\n", "cannot be read"),
        ("r.csv.gz", "user,item\n1,2\n", "cannot be read"),
        ("r.csv", "user,item\n1,2\n1,2,3\n", "row 2: 3 columns instead of 2"),
    ],
)
def test_a_file_that_is_none_is_refused(
    name: str, content: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_interactions(text(tmp_path, content, name), NAMES)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv does not exist"):
        read_interactions(tmp_path / "absent.csv", NAMES)
    with pytest.raises(InputError, match="is a folder without files"):
        read_interactions(tmp_path, NAMES)


@pytest.mark.parametrize("name", ["r.parquet", "r.csv.gz"])
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    file = written(pd.concat([FRAME] * 500), tmp_path / name)
    whole = file.read_bytes()
    for length in (1, 4, 8, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_interactions(file, NAMES)
        assert str(file) in str(caught.value)


@pytest.mark.parametrize("bad", ["four", "3,5", "4*", "1e", "--3"])
def test_a_rating_that_is_no_number_is_refused_by_its_row(bad: str, tmp_path: Path) -> None:
    file = text(tmp_path, f'user,item,rating\n1,1,3\n1,2,\n1,3,nan\n1,4,"{bad}"\n1,5,worse\n')
    with pytest.raises(InputError) as caught:
        read_interactions(file, NAMES)
    assert f"{file}, row 4: the rating is no number" in str(caught.value)
    assert bad in str(caught.value)


def test_ratings_without_a_number_are_missing(tmp_path: Path) -> None:
    file = text(tmp_path, "user,item,rating\n1,1,3\n1,2,\n1,3,nan\n1,4,inf\n")
    ratings = read_interactions(file, NAMES)["rating"].to_numpy()
    np.testing.assert_array_equal(ratings, [3.0, np.nan, np.nan, np.inf])


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint32(), pa.float32(), pa.decimal128(5, 2)])
def test_every_number_type_is_a_rating(kind: pa.DataType, tmp_path: Path) -> None:
    ratings = pa.array([Decimal(3), None, Decimal(5)], pa.decimal128(21, 2)).cast(kind)
    table = pa.table({"user": [1, 1, 1], "item": [1, 2, 3], "rating": ratings})
    pa.parquet.write_table(table, tmp_path / "r.parquet")
    frame = read_interactions(tmp_path / "r.parquet", NAMES)
    assert frame["rating"].dtype == np.float64
    np.testing.assert_array_equal(frame["rating"], [3, np.nan, 5])


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("ids", [["1", "", "3", ""], ["a", "", "c", ""]])
def test_a_missing_id_is_refused_by_its_row(column: str, ids: list[str], tmp_path: Path) -> None:
    other = "item" if column == "user" else "user"
    lines = "".join(f"7,{one}\n" for one in ids)
    file = text(tmp_path, f"{other},{column}\n{lines}")
    with pytest.raises(InputError) as caught:
        read_interactions(file, NAMES)
    assert f"{file}, row 2: the {column} id is missing" in str(caught.value)


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1.5, 2.0]),
        pa.array([True, False]),
        pa.array([b"a", b"b"]),
        pa.array([[1], [2]]),
        pa.array([None, None]),
        pa.array([2**63, 1], type=pa.uint64()),
    ],
    ids=lambda ids: str(ids.type),
)
def test_a_column_that_holds_no_ids_is_refused(ids: pa.Array, tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"user": ids, "item": [1, 2]}), tmp_path / "r.parquet")
    with pytest.raises(InputError, match=r"r\.parquet.*user id"):
        read_interactions(tmp_path / "r.parquet", NAMES)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array(["a", "b"], type=pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([7, 5], type=pa.int16()), [7, 5]),
        (pa.array([7, 5], type=pa.uint64()), [7, 5]),
    ],
    ids=lambda one: str(getattr(one, "type", "")),
)
def test_every_type_of_id_is_read(ids: pa.Array, expected: list[Any], tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table({"user": ids, "item": [1, 2]}), tmp_path / "r.parquet")
    assert read_interactions(tmp_path / "r.parquet", NAMES)["user"].tolist() == expected


def test_ids_with_leading_zeros_do_not_become_others(tmp_path: Path) -> None:
    # '007' is not 7 anywhere else; a file in which both stand must not merge them.
    file = text(tmp_path, "user,item\n007,1\n7,1\n")
    assert read_interactions(file, NAMES)["user"].nunique() == 2


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("\ufeffuser,item\r\n1,é\r\n".encode())
    assert read_interactions(tmp_path / "r.csv", NAMES)["item"].tolist() == ["é"]


def test_a_gzipped_file_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(b"user,item\n1,2\n"))
    assert len(read_interactions(tmp_path / "r.csv.gz", NAMES)) == 1

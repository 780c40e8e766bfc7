"""Every format gives back what was written."""

import bz2
import gzip
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import load_interactions

FRAME = pd.DataFrame(
    {"user": [1, 1, 2, 3], "item": ["a", "b", "a", "ü, ü"], "rating": [4.0, 5.0, 3.0, 2.0]}
)
CSV = FRAME.to_csv(index=False).encode()
PLAIN = FRAME.replace("ü, ü", "c")


def rows(path: Path, options: ReadOptions | None = None) -> list[Any]:
    frame = read_interactions(path, options)[["user", "item", "rating"]]
    return sorted(frame.itertuples(index=False, name=None))


def expected(frame: pd.DataFrame = FRAME) -> list[Any]:
    return sorted(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "dat"])
def test_any_delimiter_is_found_out(delimiter: str, suffix: str, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / f"r.{suffix}", sep=delimiter, index=False)
    assert rows(tmp_path / f"r.{suffix}") == expected()


@pytest.mark.parametrize("delimiter", ["::", "\t", ","])
def test_a_file_without_a_header_goes_by_position(delimiter: str, tmp_path: Path) -> None:
    lines = [delimiter.join(map(str, row)) for row in PLAIN.itertuples(index=False)]
    (tmp_path / "u.data").write_text("\n".join(lines))
    assert rows(tmp_path / "u.data") == expected(PLAIN)
    names = ColumnNames(user="2", item="1", rating="3")
    turned = read_interactions(tmp_path / "u.data", ReadOptions(columns=names))
    assert turned["user"].tolist() == PLAIN["item"].tolist()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(end: str, tmp_path: Path) -> None:
    text = f'user,item,rating{end}1,"a,{end}""b""",4{end}2,c,5{end}'
    (tmp_path / "r.csv").write_bytes(text.encode())
    assert rows(tmp_path / "r.csv") == [(1, f'a,{end}"b"', 4.0), (2, "c", 5.0)]


def test_compressed_and_zipped_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(CSV))
    (tmp_path / "r.csv.zst").write_bytes(pa.compress(CSV, codec="zstd", asbytes=True))
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("data/r.csv", CSV)
        archive.writestr("data/README", "words")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("r.csv", CSV)
        archive.writestr("titles.csv", "item,title\n")
    for name in ("r.csv.gz", "r.csv.zst", "r.zip", "r.zip/data/r.csv", "two.zip/r.csv"):
        assert rows(tmp_path / name) == expected()
    with pytest.raises(InputError, match=r"two\.zip holds 2 files of data.*two\.zip/NAME"):
        rows(tmp_path / "two.zip")
    with pytest.raises(InputError, match=r"holds no 'x\.csv'"):
        rows(tmp_path / "two.zip" / "x.csv")


@pytest.mark.parametrize("block_bytes", [16, 300, 1 << 20])
def test_a_compressed_file_of_many_blocks_is_read_as_the_plain_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    frame = pd.DataFrame({"user": np.arange(300) // 4, "item": np.arange(300) % 7})
    text = frame.to_csv(index=False).encode()
    (tmp_path / "r.csv").write_bytes(text)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "r.csv.bz2").write_bytes(bz2.compress(text))
    (tmp_path / "r.csv.zst").write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("r.csv", text)
    monkeypatch.setattr("recsys_vae.ingest.text.BLOCK_BYTES", block_bytes)
    for name in ("r.csv", "r.csv.gz", "r.csv.bz2", "r.csv.zst", "r.zip"):
        read = read_interactions(tmp_path / name)
        pd.testing.assert_frame_equal(read[["user", "item"]], frame)


@pytest.mark.parametrize("odd", ["x", "007"])
def test_an_id_that_is_no_number_makes_all_of_them_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    users = [str(n) for n in range(1, 60)] + [odd]
    (tmp_path / "r.csv").write_text("user,item\n" + "".join(f"{one},5\n" for one in users))
    monkeypatch.setattr("recsys_vae.ingest.text.BLOCK_BYTES", 32)
    read = read_interactions(tmp_path / "r.csv")
    assert read["user"].tolist() == users
    assert read["item"].tolist() == [5] * len(users)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_named(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(CSV.decode(), encoding=encoding)
    assert rows(tmp_path / "r.csv", ReadOptions(encoding=encoding)) == expected()


def test_parquet_comes_as_a_file_a_folder_or_hive_partitioned(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "r.parquet")
    (tmp_path / "folder").mkdir()
    FRAME[:2].to_parquet(tmp_path / "folder" / "a.parquet")
    FRAME[2:].to_parquet(tmp_path / "folder" / "b.parquet")
    (tmp_path / "folder" / "_SUCCESS").touch()
    FRAME.to_parquet(tmp_path / "hive", partition_cols=["rating"])
    for name in ("r.parquet", "folder", "hive"):
        assert rows(tmp_path / name) == expected()
    (tmp_path / "folder" / "c.csv").write_bytes(CSV)
    with pytest.raises(InputError, match="several formats"):
        rows(tmp_path / "folder")


def test_json_lines_are_read(tmp_path: Path) -> None:
    FRAME.to_json(tmp_path / "r.jsonl", orient="records", lines=True)
    assert rows(tmp_path / "r.jsonl") == expected()


def test_recboles_typed_names_are_understood(tmp_path: Path) -> None:
    typed = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}
    FRAME.rename(columns=typed).to_csv(tmp_path / "r.inter", sep="\t", index=False)
    assert rows(tmp_path / "r.inter") == expected()


def test_adjacency_lists_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 5 6 7\n1 5 \n2\n3 9 5\n")
    frame = read_interactions(tmp_path / "train.txt")
    pairs = [(0, 5), (0, 6), (0, 7), (1, 5), (3, 9), (3, 5)]
    assert list(frame.itertuples(index=False, name=None)) == pairs


def test_files_of_the_netflix_prize_are_read(tmp_path: Path, monkeypatch: Any) -> None:
    text = "1:\n10,3,2005-09-06\n11,4,2005-01-01\n2:\n3:\n10,5,2004-01-01\n"
    (tmp_path / "mv.txt").write_text(text)
    for size in (8, 20, 10_000):
        monkeypatch.setattr("recsys_vae.ingest.text.BLOCK_BYTES", size)
        assert rows(tmp_path / "mv.txt") == [(10, 1, 3.0), (10, 3, 5.0), (11, 1, 4.0)]


MOMENT = datetime(2019, 3, 4, 5, 6, 7, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "written",
    [
        SECONDS, SECONDS * 10**3, SECONDS * 10**6, SECONDS * 10**9, float(SECONDS),
        "2019-03-04T05:06:07Z", "2019-03-04 05:06:07", "2019-03-04T06:06:07+01:00",
    ],
)  # fmt: skip
def test_every_way_to_write_a_time_means_the_same(written: Any, tmp_path: Path) -> None:
    frame = FRAME.assign(timestamp=[written] * len(FRAME))
    frame.to_csv(tmp_path / "r.csv", index=False)
    frame.to_parquet(tmp_path / "r.parquet")
    options = CleaningOptions(threshold=0, min_user_items=1)
    for name in ("r.csv", "r.parquet"):
        store_rows(FileSource(tmp_path / name), options, tmp_path / "out", tmp_path)
        times = load_interactions(tmp_path / "out").times
        assert times is not None
        assert set(times.tolist()) == {SECONDS * 1_000}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_arrow_timestamps_are_times(unit: str, zone: str | None, tmp_path: Path) -> None:
    moments = pa.array([MOMENT.replace(tzinfo=None)] * 2, pa.timestamp(unit))
    moments = moments if zone is None else moments.cast(pa.timestamp(unit, zone))
    table = pa.table({"user": [1, 2], "item": [1, 2], "timestamp": moments})
    pa.parquet.write_table(table, tmp_path / "r.parquet")
    options = CleaningOptions(min_user_items=1)
    store_rows(FileSource(tmp_path / "r.parquet"), options, tmp_path / "out", tmp_path)
    times = load_interactions(tmp_path / "out").times
    assert times is not None
    assert times.tolist() == [SECONDS * 1_000] * 2

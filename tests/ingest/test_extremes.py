"""Values and options at the edge: a right result or one sentence, never a wrong result."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.engine import Stored, store_rows
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.source import FileSource
from recsys_vae.interactions import load_interactions

SECOND = 1_500_000_000
ALL = CleaningOptions(min_user_items=1, max_rejected=1.0)


def stored(path: Path, options: ReadOptions | None = None) -> Stored:
    source = FileSource(path, options or ReadOptions())
    return store_rows(source, ALL, path.parent / "out", path.parent)


def parquet(path: Path, **columns: object) -> Path:
    pa.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("value", ["99999999999999999999", "1e30", "9223372036854775807"])
def test_a_time_beyond_all_numbers_is_in_the_future(tmp_path: Path, value: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text(f"user,item,timestamp\n1,1,{SECOND}\n1,2,{value}\n1,3,2017-07-14\n")
    assert stored(path).account.rejected == {"the time is in the future": 1}


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (pa.int64(), -(2**63), "before 1970"),
        (pa.int64(), 2**63 - 1, "in the future"),
        (pa.uint64(), 2**64 - 1, "in the future"),
        (pa.float64(), 1e300, "in the future"),
        (pa.float64(), -1e300, "before 1970"),
        (pa.timestamp("us"), 2**62, "in the future"),
    ],
)
def test_an_extreme_time_is_set_aside(
    tmp_path: Path, kind: pa.DataType, value: float, why: str
) -> None:
    unit = 10**6 if pa.types.is_timestamp(kind) else 1
    times = pa.array([SECOND * unit, value], kind)
    path = parquet(tmp_path / "r.parquet", user=[1, 2], item=[1, 2], timestamp=times)
    assert stored(path).account.rejected == {f"the time is {why}": 1}
    kept = load_interactions(tmp_path / "out").times
    assert kept is not None
    assert kept.tolist() == [SECOND * 1_000]


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"\xff", b"b"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    with pytest.raises(InputError, match=r"r\.parquet cannot be read"):
        stored(parquet(tmp_path / "r.parquet", user=broken, item=[1, 2]))


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": "\n"},
        {"delimiter": '"'},
        {"delimiter": ""},
        {"quote": "é"},
        {"quote": "\n"},
        {"quote": "ab"},
    ],
)
def test_a_character_that_cannot_do_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(options))} "):
        ReadOptions(**options)  # type: ignore[arg-type] # only texts are given


@pytest.mark.parametrize("delimiter", ["§", "→", "::"])
def test_a_delimiter_may_be_several_bytes(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text("user,item\n1,7\n1,007\n".replace(",", delimiter), "utf-8")
    frame = read_interactions(path, ReadOptions(delimiter=delimiter))
    assert frame["item"].tolist() == ["7", "007"]


@pytest.mark.parametrize("encoding", ["base64", "rot13", "hex", "nonsense"])
def test_an_encoding_that_is_none_of_text_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "r.csv").write_text("user,item\n1,7\n")
    with pytest.raises(InputError, match=f"--encoding {encoding} is unknown"):
        read_interactions(tmp_path / "r.csv", ReadOptions(encoding=encoding))


@pytest.mark.parametrize(
    "columns",
    [ColumnNames(item="user"), ColumnNames(rating="user"), ColumnNames(timestamp="rating")],
)
def test_a_column_has_one_role(tmp_path: Path, columns: ColumnNames) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\n1,7,5\n")
    with pytest.raises(InputError, match="would be both"):
        stored(tmp_path / "r.csv", ReadOptions(columns=columns))


def test_a_column_named_for_one_role_is_not_another_by_its_place(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"1,7,{SECOND}\n1,8,{SECOND}\n")
    done = stored(tmp_path / "r.csv", ReadOptions(columns=ColumnNames(timestamp="3")))
    assert done.account.threshold is None
    assert np.all(load_interactions(tmp_path / "out").times == SECOND * 1_000)


def test_a_column_number_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("1,7,5\n")
    with pytest.raises(InputError, match="--user-column"):
        read_interactions(tmp_path / "r.csv", ReadOptions(columns=ColumnNames(user="9" * 5_000)))


def test_the_step_that_left_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\n1,7,5\n")
    options = CleaningOptions(min_user_items=1, allow_users=("2",))
    with pytest.raises(InputError, match="keep the listed users"):
        store_rows(FileSource(tmp_path / "r.csv"), options, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, -np.inf])
def test_a_threshold_is_finite(threshold: float) -> None:
    with pytest.raises(InputError, match="--threshold"):
        CleaningOptions(threshold=threshold)


@pytest.mark.parametrize("separator", ["\u2028", "\x85"])
def test_a_separator_within_a_value_ends_no_line(tmp_path: Path, separator: str) -> None:
    rows = [f'{{"user": "a{separator}b", "item": 1}}', '{"user": "c", "item": 1}', "no JSON"]
    (tmp_path / "r.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    assert stored(tmp_path / "r.jsonl").account.rejected == {"no JSON": 1}
    assert len(load_interactions(tmp_path / "out").users) == 2


def test_a_separator_within_a_header_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,a\u2028b,item\n1,x,7\n", "utf-8")
    assert read_interactions(tmp_path / "r.csv")["item"].tolist() == [7]


def test_half_a_character_is_set_aside(tmp_path: Path) -> None:
    rows = ['{"user": "\\ud800", "item": 1}', '{"user": "c", "item": 1}']
    (tmp_path / "r.jsonl").write_text("\n".join(rows) + "\n")
    assert stored(tmp_path / "r.jsonl").account.rejected == {"half a character as a value": 1}


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path: Path, end: str) -> None:
    path = tmp_path / "r.csv"
    path.write_text('user,item,note\n1,1,a\n1,2,"b\n2,1,c\n2,2,d' + end)
    with pytest.raises(InputError, match=r"r\.csv: a quote is opened and never closed"):
        stored(path)
    # Amid a field a quote is a character like any other.
    path.write_text('user,item,note\n1,1,a\n1,2,5" pipe\n2,1,c\n2,2,d' + end)
    assert stored(path).account.steps[0].rows_in == 4

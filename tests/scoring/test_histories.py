from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.ingest import parquet, text
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.scoring.histories import HistoryBlock, HistorySource, joined, stored_blocks

ITEMS = IdMap.of(range(10))
USERS = st.one_of(
    st.lists(st.integers(0, 999), unique=True, min_size=1, max_size=12),
    # Texts that no CSV reader takes for a number, a date, a truth value or nothing.
    st.lists(st.text("xyzäß", min_size=1), unique=True, min_size=1, max_size=12),
)


def in_pieces(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Read a few rows at a time; a row of text is about eight bytes."""
    patch.setattr(text, "BLOCK_BYTES", 8 * rows)
    patch.setattr(parquet, "ROWS", rows)


@st.composite
def grouped_rows(draw: Any) -> list[tuple[Any, int, float]]:
    rows = []
    for user in draw(USERS):
        items = draw(st.lists(st.integers(0, 13), min_size=1, max_size=6))  # 10 to 13 are unknown
        ratings = st.sampled_from([1.0, 3.5, 4.0, 5.0])
        rows += [(user, item, draw(ratings)) for item in items]
    return rows


def written(frame: pd.DataFrame, path: Path, row_group: int = 1_000) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=row_group)
    else:
        frame.to_csv(path, index=False)
    return path


def unrolled(blocks: Iterator[HistoryBlock]) -> tuple[list[tuple[Any, list[int]]], int, int]:
    users: list[tuple[Any, list[int]]] = []
    unknown = below = 0
    for block in blocks:
        assert block.given.has_canonical_format
        assert set(block.given.data.tolist()) <= {1.0}
        for row, user in enumerate(block.users.tolist()):
            users.append((user, block.given[[row]].indices.tolist()))
        unknown, below = unknown + block.unknown, below + block.below
    return users, unknown, below


def in_memory(
    rows: list[tuple[Any, int, float]], threshold: float | None
) -> tuple[list[tuple[Any, list[int]]], int, int]:
    users: dict[Any, set[int]] = {}
    unknown = below = 0
    for user, item, rating in rows:
        kept = users.setdefault(user, set())
        if threshold is not None and rating <= threshold:
            below += 1
        elif item not in range(10):
            unknown += 1
        else:
            kept.add(item)
    return [(user, sorted(items)) for user, items in users.items()], unknown, below


@given(
    grouped_rows(),
    st.sampled_from(["h.csv", "h.parquet"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 30),
    st.sampled_from([None, 3.5]),
)
@settings(deadline=None, max_examples=150)
def test_a_streamed_file_gives_what_grouping_in_memory_gives(
    rows: list[tuple[Any, int, float]],
    name: str,
    users_per_block: int,
    rows_per_read: int,
    row_group: int,
    threshold: float | None,
) -> None:
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"])
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        in_pieces(patch, rows_per_read)
        path = written(frame, Path(folder) / name, row_group)
        source = HistorySource(path=path, threshold=threshold, users_per_block=users_per_block)
        blocks = list(source.blocks(ITEMS))
    assert unrolled(iter(blocks)) == in_memory(rows, threshold)
    sizes = [len(block.users) for block in blocks]
    assert all(size == users_per_block for size in sizes[:-1])
    assert 1 <= sizes[-1] <= users_per_block


def test_a_csv_longer_than_one_read_gives_what_grouping_in_memory_gives(tmp_path: Path) -> None:
    # pyarrow reads a megabyte at a time; this is two and a half.
    n_rows = 300_000
    rng = np.random.default_rng(0)
    users = np.sort(rng.integers(100_000, size=n_rows))
    frame = pd.DataFrame({"user": users, "item": rng.integers(14, size=n_rows)})
    path = written(frame, tmp_path / "h.csv")
    assert path.stat().st_size > 2**21
    known = frame[frame["item"] < 10].drop_duplicates()
    blocks = list(HistorySource(path=path, users_per_block=777).blocks(ITEMS))
    assert sum(block.unknown for block in blocks) == int((frame["item"] >= 10).sum())
    assert np.concatenate([block.users for block in blocks]).tolist() == sorted(set(users.tolist()))
    assert sum(block.given.nnz for block in blocks) == len(known)
    columns = sum((block.given.sum(axis=0) for block in blocks), np.zeros(10))
    assert columns.tolist() == known["item"].value_counts().sort_index().tolist()


def test_ids_that_turn_into_text_late_in_a_csv_are_read(tmp_path: Path) -> None:
    # Read as a whole the file has text ids; streamed, the first megabyte looks like integers.
    users = [str(n) for n in range(1_000_000, 1_200_000)] + ["zed"]
    path = written(pd.DataFrame({"user": users, "item": 1}), tmp_path / "h.csv")
    assert path.stat().st_size > 2**20
    blocks = list(HistorySource(path=path).blocks(ITEMS))
    assert sum(len(block.users) for block in blocks) == 200_001


def test_a_user_with_only_unknown_items_stays_with_an_empty_history(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["a", "b", "b"], "item": [77, 1, 88]})
    path = written(frame, tmp_path / "h.csv")
    found = unrolled(HistorySource(path=path).blocks(ITEMS))
    assert found == ([("a", []), ("b", [1])], 2, 0)


def test_missing_and_low_ratings_are_below_the_threshold(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": 1, "item": [1, 2, 3], "rating": [np.nan, 3.5, 4.0]})
    path = written(frame, tmp_path / "h.csv")
    assert unrolled(HistorySource(path=path, threshold=3.5).blocks(ITEMS)) == ([(1, [3])], 0, 2)


def test_a_block_tells_what_was_rated_at_or_below_the_threshold(tmp_path: Path) -> None:
    rows = [
        ("a", 1, 5.0),
        ("a", 2, 1.0),
        ("a", 77, 1.0),
        ("b", 3, 5.0),
        ("c", 4, 3.5),
        ("c", 4, 5.0),
    ]
    path = written(pd.DataFrame(rows, columns=["user", "item", "rating"]), tmp_path / "h.csv")
    (block,) = HistorySource(path=path, threshold=3.5).blocks(ITEMS)
    assert (block.unknown, block.below) == (0, 3)
    seen = [block.seen[[row]].indices.tolist() for row in range(3)]
    assert seen == [[1, 2], [3], [4]]
    parts = [block.rows(np.array([row])) for row in (0, 1, 2)]
    again = joined(parts)
    assert np.array_equal(again.seen.toarray(), block.seen.toarray())
    assert joined(parts[1:2]).seen.indices.tolist() == [3]
    (plain,) = HistorySource(path=path, threshold=3.5, rated=False).blocks(ITEMS)
    assert plain.rated is None
    assert plain.below == 3
    assert np.array_equal(plain.given.toarray(), block.given.toarray())


@pytest.mark.parametrize("users_per_block", [1, 2, 3, 100])
@pytest.mark.parametrize("rows_per_read", [1, 2, 100])
@pytest.mark.parametrize("name", ["h.csv", "h.parquet"])
def test_rows_of_a_user_that_are_apart_are_refused_by_the_users_name(
    name: str,
    rows_per_read: int,
    users_per_block: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch, rows_per_read)
    frame = pd.DataFrame({"user": ["a", "b", "b", "c", "b", "d"], "item": 1})
    path = written(frame, tmp_path / name)
    source = HistorySource(path=path, users_per_block=users_per_block)
    with pytest.raises(InputError) as caught:
        list(source.blocks(ITEMS))
    assert f"{path}: the rows of user 'b' are not next to each other" in str(caught.value)
    assert "sort the file by user" in str(caught.value)


def test_a_bad_row_deep_in_the_file_is_refused_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_pieces(monkeypatch, 4)
    frame = pd.DataFrame({"user": ["u"] * 9 + [None], "item": 1})
    path = written(frame, tmp_path / "h.parquet")
    with pytest.raises(InputError, match=r"h\.parquet, row 10: the user id is missing"):
        list(HistorySource(path=path).blocks(ITEMS))


@pytest.mark.parametrize(
    ("users", "lists", "said"),
    [
        (["a", " "], [["x"], ["y"]], "row 2: the user id is blank"),
        (["a", "b", "c"], [["x"], [], ["y", ""]], "row 3: an item id is blank"),
    ],
)
def test_blank_ids_are_refused_in_list_form_as_in_long_form(
    users: list[str], lists: list[list[str]], said: str, tmp_path: Path
) -> None:
    pa.parquet.write_table(pa.table({"user": users, "items": lists}), tmp_path / "h.parquet")
    with pytest.raises(InputError, match=said):
        list(HistorySource(path=tmp_path / "h.parquet").blocks(IdMap.of(["x", "y"])))


def test_text_may_be_views_in_list_form(tmp_path: Path) -> None:
    views = pa.array([["x"], ["y", "x"]], pa.list_(pa.string_view()))
    users = pa.array(["a", "b"], pa.string_view())
    pa.parquet.write_table(pa.table({"user": users, "items": views}), tmp_path / "h.parquet")
    (block,) = HistorySource(path=tmp_path / "h.parquet").blocks(IdMap.of(["x", "y"]))
    assert block.users.tolist() == ["a", "b"]
    assert block.given.toarray().tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("name", ["h.csv", "h.parquet"])
def test_a_file_that_is_missing_or_truncated_is_refused(name: str, tmp_path: Path) -> None:
    source = HistorySource(path=tmp_path / name)
    with pytest.raises(InputError, match="does not exist"):
        list(source.blocks(ITEMS))
    written(pd.DataFrame({"user": range(50), "item": 1}), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) - 1] if "parquet" in name else b"")
    with pytest.raises(InputError, match=f"{name} "):
        list(source.blocks(ITEMS))


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = written(pd.DataFrame({"who": [1], "what": [2]}), tmp_path / "h.csv")
    source = HistorySource(
        path=path, reading=ReadOptions(columns=ColumnNames(user="who", item="what"))
    )
    assert unrolled(source.blocks(ITEMS)) == ([(1, [2])], 0, 0)


@pytest.mark.parametrize("users_per_block", [1, 2, 3, 50])
def test_stored_interactions_come_in_blocks_too(users_per_block: int) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"user": rng.integers(9, size=60), "item": rng.integers(14, size=60)})
    interactions = Interactions.from_frame(frame)
    blocks = list(stored_blocks(interactions, ITEMS, users_per_block=users_per_block))
    rows = [(user, item, 5.0) for user, item in sorted(set(frame.itertuples(index=False)))]
    assert unrolled(iter(blocks)) == in_memory(rows, None)
    assert all(len(one.users) == users_per_block for one, _ in pairwise(blocks))

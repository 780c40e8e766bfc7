"""Ratings that are no liking are kept beside the interactions, for the same users and items."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.ingest import engine, first_pass, text
from recsys_vae.ingest.cleaning import CleaningOptions, Duplicates
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.source import FileSource, Source, TableSource
from recsys_vae.interactions import Interactions, load_interactions
from recsys_vae.steps.ingest import IngestOptions, ingest

ROWS = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, 5), st.sampled_from([1.0, 3.5, 4.0, 5.0]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=40,
)  # fmt: skip
Pair = tuple[Any, Any]


def table_of(rows: list[Any]) -> pa.Table:
    users, items, ratings, times = (list(column) for column in zip(*rows, strict=True))
    return pa.table({"user": users, "item": items, "rating": ratings, "timestamp": times})


def pairs_of(interactions: Interactions) -> set[Pair]:
    return set(interactions.frame()[["user", "item"]].itertuples(index=False, name=None))


def kept(source: Source, options: CleaningOptions) -> tuple[Interactions, set[Pair]] | None:
    """Give the interactions, and the lower ratings once it is seen that they belong to them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        try:
            done = store_rows(source, options, folder / "out", folder, low_folder=folder / "low")
        except InputError:
            assert not (folder / "low").exists()
            return None
        liked = load_interactions(folder / "out")
        if not done.low:
            assert not (folder / "low").exists()
            return liked, set()
        low = load_interactions(folder / "low")
        assert (low.users.fingerprint, low.items.fingerprint) == (
            liked.users.fingerprint, liked.items.fingerprint,
        )  # fmt: skip
        assert (low.matrix.data == 1).all()
        assert len(low) == done.low
        assert sorted(path.name for path in folder.iterdir()) == ["low", "out"]
        return liked, pairs_of(low)


@given(ROWS, st.sampled_from(["max", "first", "last", "sum"]), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=120)
def test_a_low_rating_is_kept_where_user_and_item_are_and_none_of_their_ratings_counts(
    rows: list[Any], duplicates: Duplicates, users: int, items: int
) -> None:
    options = CleaningOptions(
        duplicates=duplicates, threshold=3.5, min_user_items=users, min_item_users=items
    )
    found = kept(TableSource(table_of(rows), "rows"), options)
    if found is None:
        return
    liked, low = found
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    if duplicates in ("first", "last"):
        # Of equal times the larger rating, as for the interactions themselves.
        earliest = duplicates == "first"
        frame = frame.sort_values(["time", "rating"], ascending=[True, not earliest])
    deciding: Any = duplicates  # each policy is also the name of what pandas does
    value = frame.groupby(["user", "item"])["rating"].agg(deciding)
    known_users = set(liked.users.ids(range(len(liked.users))).tolist())
    known_items = set(liked.items.ids(range(len(liked.items))).tolist())
    expected = {
        (user, item)
        for (user, item), rating in value.items()
        if rating <= 3.5 and user in known_users and item in known_items
    }
    assert low == expected
    assert not low & pairs_of(liked)


def test_neither_blocks_nor_groups_nor_the_disk_change_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (user, (7 * user + 3 * one) % 50, [1.0, 2.0, 4.5, 5.0][(user + one) % 4], one)
        for user in range(120)
        for one in range(20)
    ]
    frame = table_of(rows).to_pandas().sample(frac=1.0, random_state=0)
    frame.to_csv(tmp_path / "r.csv", index=False)
    options = CleaningOptions(min_user_items=2)
    whole = kept(FileSource(tmp_path / "r.csv"), options)
    assert whole is not None
    assert len(whole[1]) > 500
    monkeypatch.setattr(text, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(engine, "_ROWS_AT_ONCE", 300)
    for module in (first_pass, engine):
        monkeypatch.setattr(module, "LOW_IN_MEMORY", 1_000)
    again = kept(FileSource(tmp_path / "r.csv"), options)
    assert again is not None
    assert again[1] == whole[1]
    assert again[0].fingerprint == whole[0].fingerprint


def test_a_second_ingestion_without_low_ratings_leaves_none_of_the_first(tmp_path: Path) -> None:
    rows = [(user, item, 5.0 if item < 6 else 1.0, 0) for user in range(6) for item in range(8)]
    rows += [(9, item, 5.0, 0) for item in range(8)]
    for threshold, low in ((3.5, 12), (0.0, 0)):
        table_of(rows).to_pandas().to_csv(tmp_path / "r.csv", index=False)
        done = ingest(
            IngestOptions(
                data=str(tmp_path / "r.csv"),
                cleaning=CleaningOptions(threshold=threshold),
                out=tmp_path / "data",
            )
        )
        assert done.low == low
        assert (tmp_path / "data" / "low-ratings").is_dir() == bool(low)

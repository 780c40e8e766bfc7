"""The laws of ingestion: every row is accounted for; nothing but the rows decides the result."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.ingest import engine, first_pass, parquet, text
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.engine import Stored, store_rows
from recsys_vae.ingest.pairs import PairStore
from recsys_vae.ingest.source import FileSource, Source, TableSource
from recsys_vae.interactions import Interactions, load_interactions

ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(0, 6),
        st.sampled_from([None, -1.0, 0.0, 1.0, 3.5, 4.0, 5.0]),
        st.sampled_from([0, 5, 86_400, 1_500_000_000]),
    ),
    min_size=1,
    max_size=40,
)
EASY: dict[str, Any] = {"min_user_items": 1, "max_rejected": 1.0}


def stored(source: Source, options: CleaningOptions) -> tuple[Stored, Interactions] | None:
    with TemporaryDirectory() as folder:
        try:
            done = store_rows(source, options, Path(folder) / "out", Path(folder))
        except InputError:
            assert not (Path(folder) / "out").exists()
            return None
        return done, load_interactions(Path(folder) / "out")


def table_of(rows: list[Any]) -> pa.Table:
    users, items, ratings, times = (list(column) for column in zip(*rows, strict=True))
    columns = {"user": users, "item": items, "rating": ratings, "timestamp": times}
    return pa.table({**columns, "rating": pa.array(ratings, pa.float64())})


def oracle(rows: list[Any], options: CleaningOptions) -> set[tuple[int, int, int]]:
    """The same cleaning in plain pandas."""
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "time"])
    frame["time"] *= 1_000
    frame = frame[frame["rating"] >= 0]
    if options.since is not None:
        frame = frame[frame["time"] >= options.since]
    if options.deny_users:
        frame = frame[~frame["user"].astype(str).isin(options.deny_users)]
    order: dict[str, tuple[list[str], Literal["first", "last"]]] = {
        "max": (["rating", "time"], "last"),
        "last": (["time", "rating"], "last"),
        "sum": (["time"], "last"),
    }
    if options.duplicates == "first":
        # The earliest; of equal times the largest rating.
        frame = frame.sort_values(["time", "rating"], ascending=[True, False], kind="stable")
        kept = frame.drop_duplicates(["user", "item"], keep="first")
    else:
        by, keep = order[options.duplicates]
        sums = frame.groupby(["user", "item"])["rating"].transform("sum")
        frame = frame.assign(rating=sums) if options.duplicates == "sum" else frame
        kept = frame.sort_values(by, kind="stable").drop_duplicates(["user", "item"], keep=keep)
    kept = kept[kept["rating"] > options.threshold]
    while True:
        few_users = kept.groupby("user")["item"].transform("size") < options.min_user_items
        few_items = kept.groupby("item")["user"].transform("size") < options.min_item_users
        if not (few_users | few_items).any():
            break
        kept = kept[~(few_users | few_items)]
    return set(kept[["user", "item", "time"]].itertuples(index=False, name=None))


@given(
    ROWS,
    st.sampled_from(["max", "first", "last", "sum"]),
    st.sampled_from([0.0, 3.5, 4.5]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([None, 6_000]),
    st.sampled_from([(), ("0", "3")]),
)
@settings(deadline=None, max_examples=120)
def test_what_is_kept_is_what_plain_pandas_keeps_and_every_row_is_accounted_for(
    rows: list[Any],
    duplicates: Any,
    threshold: float,
    users: int,
    items: int,
    since: Any,
    deny: Any,
) -> None:
    options = CleaningOptions(
        duplicates=duplicates, threshold=threshold, min_user_items=users, min_item_users=items,
        since=since, deny_users=deny, max_rejected=1.0,
    )  # fmt: skip
    expected = oracle(rows, options)
    done = stored(TableSource(table_of(rows), "rows"), options)
    if done is None:
        assert not expected
        return
    account, interactions = done[0].account, done[1]
    frame = interactions.frame()
    assert set(frame[["user", "item", "timestamp"]].itertuples(index=False, name=None)) == expected
    steps = account.steps
    assert steps[0].rows_in == len(rows)
    assert all(a.rows_out == b.rows_in for a, b in itertools.pairwise(steps))
    assert steps[0].rows_out - steps[1].rows_out == sum(account.rejected.values())
    last = steps[-1]
    kept = (last.rows_out, last.users, last.items)
    assert kept == (len(expected), frame["user"].nunique(), frame["item"].nunique())


@given(ROWS, st.randoms(), st.sampled_from(["max", "first", "last", "sum"]), st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_order_blocks_groups_spilling_and_files_do_not_matter(
    rows: list[Any], random: Any, duplicates: Any, parts: int
) -> None:
    options = CleaningOptions(duplicates=duplicates, **EASY)
    plain = stored(TableSource(table_of(rows), "rows"), options)
    shuffled = list(rows)
    random.shuffle(shuffled)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_ROWS_AT_ONCE", 3)
        patch.setattr(text, "BLOCK_BYTES", 16)
        patch.setattr(parquet, "ROWS", 2)
        for module in (engine, first_pass):
            patch.setattr(module, "PairStore", lambda path, **_: PairStore(path, in_memory=40))
        for suffix in ("csv", "parquet"):
            data = Path(folder) / suffix
            data.mkdir()
            for number in range(parts):
                part = table_of(shuffled).to_pandas()[number::parts]
                file = data / f"part-{number}.{suffix}"
                if len(part):
                    part.to_csv(file, index=False) if suffix == "csv" else part.to_parquet(file)
            other = stored(FileSource(data), options)
            assert (plain is None) == (other is None)
            if plain is not None and other is not None:
                assert other[0].fingerprint == plain[0].fingerprint
                assert other[0].account == plain[0].account


@pytest.mark.parametrize(
    ("ratings", "threshold"),
    [([1, 2, 5], 3.5), ([1, 2, 5, 10], 0.0), ([1, 1, 1], 0.0), ([0.2, 1.0, 4.0], 3.5)],
)
@pytest.mark.parametrize("late", [False, True])
def test_the_threshold_follows_from_the_highest_rating_wherever_it_stands(
    ratings: list[float], threshold: float, late: bool, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", 16)
    ordered = sorted(ratings, reverse=not late)
    lines = "".join(f"1,{n},{one}\n" for n, one in enumerate(ordered))
    (tmp_path / "r.csv").write_text(f"user,item,rating\n{lines}")
    done = stored(FileSource(tmp_path / "r.csv"), CleaningOptions(**EASY))
    assert done is not None
    assert done[0].account.threshold == threshold
    assert len(done[1]) == sum(one > threshold for one in ratings)


def test_rejected_rows_are_set_aside_with_number_and_reason(tmp_path: Path) -> None:
    lines = [
        "user,item,rating,timestamp", "1,1,5,100", ",1,5,100", "1,,5,100", "1,2,bad,100",
        "1,3,5,soon", "1,4,5", "1,5,inf,100", "1,6,-2,100", "1,7,,100", "1,8,5,9999999999",
        "2,1,4,2020-01-02",
    ]  # fmt: skip
    (tmp_path / "r.csv").write_text("\n".join(lines))
    done = store_rows(
        FileSource(tmp_path / "r.csv"), CleaningOptions(**EASY), tmp_path / "out", tmp_path
    )
    aside = pd.read_csv(tmp_path / "quarantine.csv", dtype=str)
    assert aside["row"].tolist() == [str(n) for n in range(2, 11)]
    assert aside["reason"].str.split().str[1].tolist() == [
        "user", "item", "rating", "time", "columns", "rating", "rating", "rating", "time"
    ]  # fmt: skip
    assert aside["rating"][2] == "bad"
    assert sum(done.account.rejected.values()) == 9
    with pytest.raises(InputError, match=r"row 2: the user id is missing.*--strict"):
        store_rows(
            FileSource(tmp_path / "r.csv"), CleaningOptions(strict=True), tmp_path / "b", tmp_path
        )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("over_cap", "kept"), [("drop", {2}), ("newest", {1, 2})])
def test_extreme_users_are_capped(over_cap: Any, kept: set[int]) -> None:
    rows = [(1, n, 5.0, n) for n in range(6)] + [(2, 0, 5.0, 0), (2, 1, 5.0, 1)]
    options = CleaningOptions(max_user_items=3, over_cap=over_cap, **EASY)
    done = stored(TableSource(table_of(rows), "rows"), options)
    assert done is not None
    frame = done[1].frame()
    assert set(frame["user"]) == kept
    newest = frame.loc[frame["user"] == 1, "item"].tolist()
    assert newest == ([3, 4, 5] if over_cap == "newest" else [])


def test_ids_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item\n007,1\n7,2\n7,3\n")
    done = stored(FileSource(tmp_path / "r.csv"), CleaningOptions(**EASY))
    assert done is not None
    assert done[1].users.to_arrow().to_pylist() == ["007", "7"]
    assert done[1].items.to_arrow().to_pylist() == [1, 2, 3]
    assert np.array_equal(done[1].matrix.toarray(), [[1, 0, 0], [0, 1, 1]])

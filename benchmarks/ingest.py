"""How fast a file of interactions becomes stored, clean interactions.

Each contender runs in a process of its own, so that its peak memory is its own; a contender that
only reads shows what the bare parser costs.

    python -m benchmarks.ingest --rows 20000000 --json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from benchmarks.machine import peak_mb
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.source import FileSource

_USERS_PER_ROW = 138_493 / 20_000_263
_ITEMS, _HIGHEST_ITEM = 26_744, 131_262
_SHARES = (0.01, 0.035, 0.015, 0.07, 0.045, 0.215, 0.11, 0.28, 0.08, 0.14)
"""Of the ratings 0.5 to 5.0; half of the rows are above 3.5, as in ML-20M."""
_ROWS_AT_ONCE = 10_000_000


def write_rows(path: Path, rows: int, *, strings: bool, shuffled: bool) -> None:
    """Write rows shaped like ML-20M: distinct pairs, sorted by user and item, or shuffled."""
    made, first_user, sink = 0, 0, None
    part = 0
    while made < rows:
        count = min(_ROWS_AT_ONCE, rows - made)
        table, n_users = _rows(count, first_user, part, strings=strings, shuffled=shuffled)
        if sink is None:
            plain = pa.csv.WriteOptions(quoting_style="none")
            sink = (
                pa.parquet.ParquetWriter(path, table.schema)
                if path.suffix == ".parquet"
                else pa.csv.CSVWriter(path, table.schema, write_options=plain)
            )
        sink.write_table(table)
        made, first_user, part = made + count, first_user + n_users, part + 1
    assert sink is not None
    sink.close()


def _rows(
    count: int, first_user: int, part: int, *, strings: bool, shuffled: bool
) -> tuple[pa.Table, int]:
    rng = np.random.default_rng([20, part])
    n_users = max(1, round(count * _USERS_PER_ROW))
    activity = rng.lognormal(0.0, 1.1, n_users)
    wanted = np.maximum(20, activity / activity.sum() * count * 1.45).astype(np.int64)
    users = np.repeat(np.arange(n_users), wanted)
    chances = np.cumsum(np.arange(1, _ITEMS + 1) ** -0.9)
    names = np.random.default_rng(20).choice(_HIGHEST_ITEM, _ITEMS, replace=False) + 1
    drawn = np.searchsorted(chances, rng.random(len(users)) * chances[-1])
    keys = np.unique(users * (_HIGHEST_ITEM + 1) + names[np.minimum(drawn, _ITEMS - 1)])
    keys = np.sort(rng.choice(keys, min(count, len(keys)), replace=False))
    if shuffled:
        keys = rng.permutation(keys)
    users, items = keys // (_HIGHEST_ITEM + 1) + first_user + 1, keys % (_HIGHEST_ITEM + 1)
    user_ids, item_ids = pa.array(users), pa.array(items)
    if strings:
        all_users = pa.array([f"u{n:08d}" for n in range(first_user, first_user + n_users + 1)])
        user_ids = all_users.take(pa.array(users - first_user))
        item_ids = pa.array([f"tt{n:07d}" for n in range(_HIGHEST_ITEM + 1)]).take(item_ids)
    ratings = rng.choice(np.arange(1, 11) / 2, len(keys), p=_SHARES)
    times = rng.integers(789_652_009, 1_427_784_002, len(keys))
    columns = {"userId": user_ids, "movieId": item_ids, "rating": ratings, "timestamp": times}
    return pa.table(columns), n_users


def ours(path: Path) -> dict[str, float]:
    """From the file to saved interactions: threshold, minimum counts and times included."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        started = time.perf_counter()
        stored = store_rows(
            FileSource(path),
            CleaningOptions(),
            Path(folder) / "out",
            Path(folder),
            low_folder=Path(folder) / "low",
        )
        seconds = time.perf_counter() - started
    return {"s": seconds, "kept": stored.account.steps[-1].rows_out}


def bare(path: Path) -> dict[str, float]:
    """Read the same columns with pyarrow, and nothing else."""
    started = time.perf_counter()
    table = pa.parquet.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    return {"s": time.perf_counter() - started, "kept": table.num_rows}


def pandas(path: Path) -> dict[str, float]:
    """Do the same in plain pandas: read, filter, count by group, map ids, save."""
    started = time.perf_counter()
    rows = pd.read_csv(path)
    rows = rows[rows["rating"] > 3.5]
    per_item = rows[["movieId"]].groupby("movieId", as_index=False).size()
    rows = rows[rows["movieId"].isin(per_item["movieId"][per_item["size"] >= 1])]
    per_user = rows[["userId"]].groupby("userId", as_index=False).size()
    rows = rows[rows["userId"].isin(per_user["userId"][per_user["size"] >= 5])]
    user_numbers = {one: number for number, one in enumerate(pd.unique(rows["userId"]))}
    item_numbers = {one: number for number, one in enumerate(pd.unique(rows["movieId"]))}
    users = [user_numbers[one] for one in rows["userId"]]
    items = [item_numbers[one] for one in rows["movieId"]]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        numbered = pd.DataFrame({"uid": users, "sid": items}, columns=["uid", "sid"])
        numbered.to_csv(Path(folder) / "train.csv", index=False)
    return {"s": time.perf_counter() - started, "kept": len(rows)}


_CONTENDERS: dict[str, Callable[[Path], dict[str, float]]] = {
    "ours": ours,
    "bare": bare,
    "pandas": pandas,
}


def _timed(contender: str, path: Path) -> dict[str, float]:
    """Run a contender in its own process, with the file in the page cache."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--contender", contender, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Write the file once, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--ids", choices=["integers", "strings"], default="integers")
    parser.add_argument("--shuffled", action="store_true", help="rows in random order")
    parser.add_argument("--parquet", action="store_true", help="only ours, from Parquet")
    parser.add_argument("--folder", type=Path, help="keep the file here; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        name, path = arguments.contender
        measured = _CONTENDERS[name](Path(path))
        print(json.dumps({**measured, "peak_rss_mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "parquet" if arguments.parquet else "csv"
        order = "shuffled" if arguments.shuffled else "sorted"
        path = folder / f"rows-{arguments.rows}-{arguments.ids}-{order}.{suffix}"
        if not path.exists():
            partial = path.with_name(f"partial-{os.getpid()}.{suffix}")
            strings = arguments.ids == "strings"
            write_rows(partial, arguments.rows, strings=strings, shuffled=arguments.shuffled)
            partial.replace(path)
            os.sync()  # what is still being written would slow whoever writes next
        _timed("bare", path) if not arguments.parquet else None  # fills the page cache
        result = _measure(path, arguments.repeats, alone=arguments.parquet)
    shown = {"rows": arguments.rows, "ids": arguments.ids, "order": order, **result}
    if arguments.json:
        print(json.dumps(shown))
    else:
        print("\n".join(f"{name:22} {value}" for name, value in shown.items()))


def _measure(path: Path, repeats: int, *, alone: bool) -> dict[str, float]:
    # Taken in turn: what else the machine does meets all alike.
    names = ["ours"] if alone else ["bare", "ours"]
    rounds = [{name: _timed(name, path) for name in names} for _ in range(repeats)]
    best = {name: min(one[name]["s"] for one in rounds) for name in names}
    result = {
        "ours_s": round(best["ours"], 3),
        "peak_rss_mb": round(max(one["ours"]["peak_rss_mb"] for one in rounds)),
        "kept": rounds[0]["ours"]["kept"],
    }
    if not alone:
        pandas_s = _timed("pandas", path)["s"]
        result |= {
            "bare_parse_s": round(best["bare"], 3),
            "pandas_s": round(pandas_s, 3),
            "ratio_to_bare": round(best["ours"] / best["bare"], 2),
            "speedup_over_pandas": round(pandas_s / best["ours"], 2),
        }
    return result


if __name__ == "__main__":
    main()

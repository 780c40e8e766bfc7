"""export: the file is what was stored, and reads back as the same interactions."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from recsys_vae.cli import main
from recsys_vae.interactions import Interactions, load_interactions, save_interactions
from recsys_vae.steps import export as module
from recsys_vae.steps.export import export
from tests.conftest import Refused

pytestmark = pytest.mark.usefixtures("workspace")


def made_up(*, ratings: bool, times: bool) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"user": rng.integers(0, 30, 200), "item": rng.integers(0, 40, 200)})
    frame = frame.drop_duplicates().sort_values(["user", "item"], ignore_index=True)
    frame["value"] = rng.integers(1, 6, len(frame)).astype(np.float32) if ratings else np.float32(1)
    if times:
        frame["timestamp"] = rng.integers(10**12, 10**12 + 10**9, len(frame))
    return frame


@pytest.mark.parametrize("ratings", [False, True])
@pytest.mark.parametrize("times", [False, True])
@pytest.mark.parametrize("at_once", [1, 25, 1 << 20])
def test_the_file_is_what_was_stored(
    ratings: bool, times: bool, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", at_once)
    frame = made_up(ratings=ratings, times=times)
    frame["item"] = "i" + frame["item"].astype(str)
    stored = Interactions.from_frame(frame)
    save_interactions(stored, tmp_path / "stored")
    done = export(data=tmp_path / "stored", out=tmp_path / "all.parquet")
    assert (done.users, done.rows) == (frame["user"].nunique(), len(frame))
    found = pd.read_parquet(tmp_path / "all.parquet")
    wanted = stored.frame().rename(columns={"value": "rating"})
    if not ratings:
        wanted = wanted.drop(columns="rating")
    if times:
        wanted["timestamp"] = pd.to_datetime(wanted["timestamp"], unit="ms", utc=True)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)
    assert done.columns == tuple(wanted.columns)
    groups = pyarrow.parquet.ParquetFile(tmp_path / "all.parquet").num_row_groups
    assert (groups == 1) == (at_once > len(frame))


def test_it_reads_back_as_the_same_interactions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", "--data", "ratings/data", "--out", str(tmp_path / "all.parquet")])
    assert "rows of" in capsys.readouterr().out
    main(["ingest", "--data", str(tmp_path / "all.parquet"), "--out", str(tmp_path / "again")])
    before = load_interactions(Path("ratings/data/interactions"))
    after = load_interactions(tmp_path / "again" / "interactions")
    assert before.fingerprint == after.fingerprint


@pytest.mark.parametrize(
    ("data", "out", "words"),
    [
        ("nothing", "all.parquet", "no interactions.json in it.*recsys-vae ingest"),
        ("ratings/data", "all.csv", r"another suffix than .parquet: choose .*all.parquet"),
        ("ratings/data", "folder.parquet", "is a folder: name a file in it"),
        ("ratings/data", "results/new/all.parquet", "below split.json, in a folder that"),
        ("ratings/data", "results/all.parquet", "beside or below split.json, in a folder that"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    refused: Refused, data: str, out: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "split.json").write_text("{}")
    sentence = refused("export", "--data", data, "--out", str(tmp_path / out), out=False)
    assert re.search(words, sentence)
    assert not (tmp_path / out).is_file()

"""What is found on several splits of one data set, taken together."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.splits import main, pooled, times_ahead
from recsys_vae.cli import main as cli
from recsys_vae.evaluation.comparison import Entry
from tests.conftest import made_up_ratings, tracking_store


def _entry(label: str, *values: float) -> Entry:
    return Entry(label=label, seeds=(0,), per_user={"ndcg@5": np.array([values])}, overall={})


def test_users_of_all_splits_stand_beside_each_other() -> None:
    first = [_entry("a", 0.5, 0.25), _entry("b", 0.0, 1.0)]
    # In another order: a leaderboard is sorted by who was ahead on its split.
    second = [_entry("b", 0.75), _entry("a", 0.125)]
    a, b = pooled([first, second])
    assert (a.label, b.label) == ("a", "b")
    assert a.per_user["ndcg@5"].tolist() == [[0.5, 0.25, 0.125]]
    assert b.per_user["ndcg@5"].tolist() == [[0.0, 1.0, 0.75]]
    assert times_ahead([first, second], "ndcg@5") == {"a": 0, "b": 2}


def test_the_table_is_of_the_data_that_were_named(
    tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking_store(tmp_path, empty_database):
        for name, users in (("one", 60), ("other", 70)):
            made_up_ratings(users, 20).to_csv(f"{name}.csv", index=False)
            cli(["ingest", "--data", f"{name}.csv", "--out", name])
        asked = ["--splits", "1", "--recipes", "popularity", "--out", "splits"]
        main(["--data", "one", *asked, "--table", "new/folder/splits.md"])
        assert "| popularity | 1 |" in Path("new/folder/splits.md").read_text("utf-8")
        for data, splits, said in (
            ("other", "1", "made from other data"),
            ("one", "0", "at least"),
        ):
            with pytest.raises(SystemExit):
                main(["--data", data, *asked, "--splits", splits])
            assert said in capsys.readouterr().err

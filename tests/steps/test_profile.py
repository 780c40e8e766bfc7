"""profile: the verb on stored interactions, with and without earlier ones."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.ingest.profile import Profile
from recsys_vae.interactions import load_interactions
from tests.conftest import Refused, made_up_ratings, tracking_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """Data of two weeks, the second with more users and one who took everything."""
    folder = tmp_path_factory.mktemp("profile")
    with tracking_store(folder, empty_database):
        for name, users in (("monday", 40), ("friday", 60)):
            rows = made_up_ratings(users, 25)
            everything = pd.DataFrame({"userId": 999, "movieId": range(25), "rating": 5.0})
            pd.concat([rows, everything]).to_csv(f"{name}.csv", index=False)
            main(["ingest", "--data", f"{name}.csv", "--out", f"{name}/data"])
        yield folder


def run_profile(*arguments: str) -> None:
    main(["profile", "--data", "friday/data", *arguments])


def test_the_folder_the_table_and_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_profile("--out", "one")
    shown = capsys.readouterr().out
    assert "61 users, 25 items, 505 interactions" in shown
    assert "warning: 1 user took at least half of the 25 items (999)" in shown
    assert sorted(path.name for path in (folder / "one").iterdir()) == [
        "profile.json", "profile.png",
    ]  # fmt: skip
    made = Profile.load(folder / "one" / "profile.json")
    assert made.fingerprint == load_interactions(folder / "friday/data/interactions").fingerprint
    assert made.interactions == 60 * 8 + 25
    (run, *_) = mlflow.MlflowClient().search_runs(
        [mlflow.get_experiment_by_name("recsys-vae").experiment_id],
        "tags.recsys_vae.step = 'profile'",
    )
    assert run.data.metrics["interactions"] == made.interactions
    assert run.data.metrics["warning_users-with-half-the-catalogue"] == 1
    listed = mlflow.MlflowClient().list_artifacts(run.info.run_id, "profile")
    assert {Path(one.path).name for one in listed} == {"profile.json", "profile.png"}


def test_drift_is_the_same_against_file_folder_and_data(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["profile", "--data", "monday/data", "--out", "earlier"])
    found = []
    for against in ("earlier/profile.json", "earlier", "monday/data"):
        run_profile("--against", against, "--out", "drifted")
        found.append(json.loads((folder / "drifted" / "drift.json").read_text()))
    assert found[0] == found[1] == found[2]
    values = {one["name"]: one["value"] for one in found[0]["measures"]}
    assert values["change of users"] == (61 - 41) / 41
    assert "Drift: large" in capsys.readouterr().out
    assert (folder / "drifted" / "profile.png").stat().st_size > 10_000


def test_nothing_drifts_from_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_profile("--out", "same")
    run_profile("--against", "same", "--out", "again")
    assert "Drift: stable" in capsys.readouterr().out
    content = json.loads((folder / "again" / "drift.json").read_text())
    assert {one["value"] for one in content["measures"]} == {0.0}


_REFUSED = {
    "data that are not there": (("--data", "nowhere"), "nowhere.*recsys-vae ingest"),
    "an earlier profile that is not there": (
        ("--data", "ratings/data", "--against", "nowhere"),
        "--against nowhere",
    ),
    "a folder of something else": (
        ("--data", "ratings/data", "--against", "ratings/split"),
        "--against ratings/split",
    ),
    "a damaged profile": (("--data", "ratings/data", "--against", "{tmp}/bad.json"), "bad.json"),
    "a profile of another version": (
        ("--data", "ratings/data", "--against", "{tmp}/old.json"),
        "old.json has format version 0",
    ),
    "no data": ((), "--data"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_what_cannot_be_profiled_is_refused(refused: Refused, tmp_path: Path, case: str) -> None:
    arguments, words = _REFUSED[case]
    (tmp_path / "bad.json").write_text('{"format_version": 1, "users": ')
    (tmp_path / "old.json").write_text('{"format_version": 0}')
    assert re.search(words, refused("profile", *arguments))


def test_damaged_data_are_refused(refused: Refused, workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace / "ratings" / "data", tmp_path / "data")
    (tmp_path / "data" / "interactions" / "indices.npy").write_bytes(b"cut")
    assert "indices.npy" in refused("profile", "--data", "{tmp}/data")

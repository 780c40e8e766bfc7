"""Steps that are done are not done again; what changed decides what is."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import mlflow
import pytest
from filelock import FileLock

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.sample import make_sample
from recsys_vae.splitting import StrongOptions
from recsys_vae.steps.cache import content_sum
from recsys_vae.steps.main import MainOptions, Outcome, run_main
from recsys_vae.steps.recipes import Recipe
from recsys_vae.tracking.evaluations import evaluation_folders
from tests.conftest import tracking_store

_ALL: Final = ["ingest", "split", "train ease", "train popularity", "evaluate", "recommend",
               "score"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cached")
    make_sample(n_users=300, n_items=80).ratings.to_csv(folder / "ratings.csv", index=False)
    with tracking_store(folder, empty_database):
        yield folder


def _options(folder: Path) -> MainOptions:
    return MainOptions(
        data=str(folder / "ratings.csv"),
        splitting=StrongOptions(held_out_users=40),
        recipes=[Recipe("ease", {"ridge": 20.0}), Recipe("popularity", {})],
        device="cpu",
        out=folder / "out",
    )


@pytest.fixture(scope="module")
def first(folder: Path) -> Outcome:
    return run_main(_options(folder))


def _made(outcome: Outcome) -> list[str]:
    return [name for name in outcome.steps if name not in outcome.reused]


def _again(folder: Path, **changes: Any) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    return run_main(replace(_options(folder), **changes), said.append), said


def test_the_first_time_every_step_is_made_each_in_a_run_of_its_own(first: Outcome) -> None:
    assert list(first.steps) == _ALL
    assert first.reused == []
    client = mlflow.MlflowClient()
    for name, done in first.steps.items():
        run = client.get_run(done.run_id)
        assert run.data.tags["recsys_vae.step"] == name.split()[0]
        assert run.data.tags["mlflow.parentRunId"] == first.run_id
        assert len(run.data.tags["recsys_vae.step_key"]) == 64


@pytest.mark.usefixtures("first")
def test_the_second_time_none_is_and_the_parent_run_tells_all_the_same(
    first: Outcome, folder: Path
) -> None:
    before = content_sum(folder / "out")
    again, said = _again(folder)
    assert again.reused == _ALL
    assert content_sum(folder / "out") == before
    assert again.version == first.version
    assert [line.partition(":")[2].split()[0] for line in said] == ["reused"] * len(_ALL)
    client = mlflow.MlflowClient()
    ours, theirs = (client.get_run(one.run_id).data for one in (again, first))
    assert ours.metrics == theirs.metrics
    assert ours.metrics["ease_recall_at_20"] > 0
    for name, done in first.steps.items():
        assert ours.tags[f"recsys_vae.run.{name}"] == done.run_id
        assert ours.tags[f"recsys_vae.reused.{name}"] == "true"


def test_a_run_of_main_that_reused_its_evaluation_is_compared_like_any_other(
    first: Outcome, folder: Path
) -> None:
    again, _ = _again(folder)
    assert "evaluate" in again.reused
    theirs, ours = (evaluation_folders(one.run_id) for one in (first, again))
    assert [one.name for one in ours] == [one.name for one in theirs] == ["evaluation"]
    assert content_sum(ours[0]) == content_sum(theirs[0])


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("changes", "made", "why"),
    [
        ({"k": 5}, ["recommend", "score"], "k (10 to 5) changed"),
        ({"recipes": [Recipe("ease", {"ridge": 30.0}), Recipe("popularity", {})]},
         ["train ease", "evaluate", "recommend", "score"],
         "model.ridge (20.0 to 30.0) changed"),
        ({"recipes": [Recipe("ease", {"ridge": 20.0})]}, ["evaluate"], "model.popularity"),
        ({"splitting": StrongOptions(held_out_users=41)}, [*_ALL[1:5], "recommend"],
         "split.held_out_users (40 to 41) changed"),
        ({"cleaning": CleaningOptions(min_user_items=6)}, _ALL,
         "cleaning.min_user_items (5 to 6) changed"),
        ({"fresh": True}, _ALL, "because of --fresh"),
    ],
    ids=["k", "recipe", "fewer-recipes", "split", "cleaning", "fresh"],
)  # fmt: skip
def test_a_change_is_followed_by_what_depends_on_it(
    folder: Path, changes: dict[str, Any], made: list[str], why: str
) -> None:
    run_main(_options(folder))
    outcome, said = _again(folder, **changes)
    if "splitting" in changes:  # other users train another model, which scores everybody
        made = [*made, "score"]
    assert _made(outcome) == made
    assert why in next(line for line in said if line.startswith(f"{made[0]}:"))


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("victim", "step"),
    [
        ("data/ingest.json", "ingest"),
        ("split/train/indices.npy", "split"),
        ("models/popularity/weights.safetensors", "train popularity"),
        ("evaluation/metrics.csv", "evaluate"),
        ("lists/examples.csv", "recommend"),
        ("lists/all-users/part-00000.parquet", "score"),
    ],
)
def test_what_was_damaged_or_deleted_is_made_again_and_that_alone(
    folder: Path, victim: str, step: str
) -> None:
    run_main(_options(folder))
    path = folder / "out" / victim
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"~")
    outcome, said = _again(folder)
    assert _made(outcome) == [step]
    assert f"because {folder / 'out'}" in "".join(said)
    assert "was changed" in "".join(said)
    assert path.read_bytes() == whole
    path.unlink()
    outcome, said = _again(folder)
    assert _made(outcome) == [step]


@pytest.mark.usefixtures("first")
def test_a_record_that_is_rubbish_or_of_a_run_that_is_gone_counts_for_nothing(folder: Path) -> None:
    done = run_main(_options(folder))
    record = folder / "out" / "steps" / "evaluate.json"
    for rubbish in ("", "{}", "[1]", '{"format_version": 1, "depends": 3}'):
        record.write_text(rubbish)
        outcome, _ = _again(folder)
        assert _made(outcome) == ["evaluate"]
    mlflow.MlflowClient().delete_run(done.steps["split"].run_id)
    outcome, said = _again(folder)
    assert _made(outcome) == ["split"]
    assert any("is gone" in line for line in said)
    uri = done.steps["train popularity"].made.facts["uri"]
    mlflow.MlflowClient().delete_logged_model(uri.removeprefix("models:/"))
    outcome, said = _again(folder)
    assert _made(outcome)[0] == "train popularity"
    assert f"train popularity: begun anew, because MLflow has no {uri} any more" in said


_MAIN: Final = """
import sys
from recsys_vae.cli import main
main(["main", "--data", sys.argv[1], "--recipes", sys.argv[2], "--out", sys.argv[3],
      "--device", "cpu"])
"""


def _final(out: Path) -> dict[str, str]:
    """What is left that the next night works with, without times and run ids."""
    names = ["data/interactions", "split", "models/mult-vae", "evaluation/metrics.csv",
             "lists/examples.csv", "lists/all-users/part-00000.parquet"]  # fmt: skip
    return {name: content_sum(out / name) for name in names}


@pytest.mark.parametrize(
    "step",
    [
        "train mult-vae",
        "score",
        *(pytest.param(name, marks=pytest.mark.slow) for name in
          ("ingest", "split", "evaluate", "recommend")),
    ],
)  # fmt: skip
def test_killed_in_a_step_the_same_command_ends_as_if_nothing_had_happened(
    folder: Path, step: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        'model = "mult-vae"\nhidden = [16]\nlatent = 4\n[training]\nepochs = 30\npatience = 0\n'
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def command(out: Path) -> list[str]:
        data = str(folder / "ratings.csv")
        return [sys.executable, "-c", _MAIN, data, str(recipe), str(out)]

    subprocess.run(command(whole), check=True, capture_output=True)
    begun = broken / "steps" / f"{step}.begun.json"
    process = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert begun.exists()
    assert not (broken / "steps" / f"{step}.json").exists()
    done = subprocess.run(command(broken), check=True, capture_output=True, text=True)
    assert f"{step}: continued" in done.stderr
    assert _final(broken) == _final(whole)
    assert not list((broken / "steps").glob("*.begun.json"))
    for record in (broken / "steps").glob("*.json"):
        assert json.loads(record.read_text())["run_id"]
    found = mlflow.search_runs(experiment_names=["recsys-vae"], output_format="list")
    killed = [one.data.tags["recsys_vae.step"] for one in found if one.info.status == "KILLED"]
    assert "main" in killed
    assert not [one for one in found if one.info.status == "RUNNING"]


@pytest.mark.usefixtures("first")
def test_two_processes_do_not_work_in_one_folder(folder: Path) -> None:
    with FileLock(folder / "out" / ".lock"), pytest.raises(InputError, match="another process"):
        run_main(_options(folder))
    assert run_main(_options(folder)).steps

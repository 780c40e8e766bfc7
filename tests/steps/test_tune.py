"""Searches find the best settings, go on after a kill, and share their work; runs are rebuilt."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import mlflow
import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest.sample import make_sample
from recsys_vae.models.zoo import load_model
from recsys_vae.splitting import StrongOptions
from recsys_vae.steps.ingest import IngestOptions, ingest
from recsys_vae.steps.recipes import read_recipe
from recsys_vae.steps.reproduce import ReproduceOptions, reproduce
from recsys_vae.steps.split import split
from recsys_vae.steps.train import train
from recsys_vae.steps.tune import Tuned, TuneOptions, tune
from tests.conftest import tracking_store

_EASE: Final = (
    'model = "ease"\nridge = 20.0\n[search]\nridge = {low = 1.0, high = 500.0, log = true}\n'
)
_VAE: Final = (
    'model = "mult-vae"\nhidden = [16]\nlatent = 8\n[training]\nepochs = 6\npatience = 0\n'
    "[search]\nlatent = {low = 2, high = 32, log = true}\n"
    "[search.training]\nlearning_rate = {low = 1e-5, high = 1e-1, log = true}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tuned")
    make_sample(n_users=300, n_items=80).ratings.to_csv(folder / "ratings.csv", index=False)
    (folder / "ease.toml").write_text(_EASE)
    (folder / "vae.toml").write_text(_VAE)
    with tracking_store(folder, empty_database):
        ingest(IngestOptions(data="ratings.csv", out=folder / "data"))
        split(data=folder / "data", out=folder / "split", options=StrongOptions(held_out_users=50))
        yield folder


def _options(folder: Path, out: str, **changes: Any) -> TuneOptions:
    recipe = read_recipe(str(folder / "ease.toml"))
    options = TuneOptions(
        split=folder / "split", recipe=recipe, trials=6, device="cpu", out=folder / out
    )
    return replace(options, **changes)


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Tuned:
    return tune(_options(folder, "first"))


def test_the_winner_is_the_best_of_the_trials_and_is_registered(folder: Path, tuned: Tuned) -> None:
    assert len(tuned.table) == 6
    assert tuned.best.metric == tuned.table["metric"].max()
    assert tuned.trained.validation == pytest.approx(tuned.best.metric, abs=1e-12)
    client = mlflow.MlflowClient()
    challenger = client.get_model_version_by_alias("recsys-vae", "challenger")
    assert tuned.trained.uri == f"models:/recsys-vae/{challenger.version}"
    model = load_model(folder / "first" / "model")
    assert model.config.model_dump()["ridge"] == tuned.best.values["ridge"]
    kept = read_recipe(str(folder / "first" / "best.toml"))
    assert kept.make().config == model.config
    assert len(pd.read_csv(folder / "first" / "trials.csv")) == 6


def test_the_recipes_own_settings_are_tried_first_and_every_trial_is_a_nested_run(
    tuned: Tuned,
) -> None:
    client = mlflow.MlflowClient()
    found = client.search_runs(
        [mlflow.get_experiment_by_name("recsys-vae").experiment_id],
        "tags.`recsys_vae.step` = 'tune'",
    )
    trials = client.search_runs(
        [found[0].info.experiment_id], f"tags.`mlflow.parentRunId` = '{found[0].info.run_id}'"
    )
    assert {run.info.run_id for run in trials} >= set(tuned.table["run"])
    assert tuned.table["ridge"].iloc[0] == 20.0


def test_the_same_seed_tries_the_same_and_more_trials_go_on(folder: Path, tuned: Tuned) -> None:
    other = tune(_options(folder, "second", study="another"))
    assert other.best.values == tuned.best.values
    again = tune(_options(folder, "second", study="another"))
    assert len(again.table) == 6  # none is added
    more = tune(_options(folder, "second", study="another", trials=8))
    assert len(more.table) == 8


def test_two_workers_share_one_study(folder: Path) -> None:
    done = tune(_options(folder, "shared", workers=2, study="shared"))
    assert len(done.table) == 6
    assert sum(done.counts.values()) == 6


def test_trials_that_fall_behind_are_stopped(folder: Path) -> None:
    recipe = read_recipe(str(folder / "vae.toml"))
    done = tune(_options(folder, "pruned", recipe=recipe, trials=9))
    states = {str(name).lower(): count for name, count in done.counts.items()}
    assert states.get("pruned", 0) >= 1
    assert done.trained.model.name == "mult-vae"


@pytest.mark.slow
def test_killed_in_a_trial_the_same_command_goes_on(folder: Path) -> None:
    recipe = folder / "long.toml"
    recipe.write_text(_VAE.replace("epochs = 6", "epochs = 40"))
    arguments = ["tune", "--split", "split", "--recipe", str(recipe), "--trials", "3",
                 "--device", "cpu", "--study", "killed", "--out", "killed"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "recsys_vae", *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "trial" in line:
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    main(arguments)
    table = pd.read_csv(folder / "killed" / "trials.csv")
    assert (folder / "killed" / "model" / "model.json").is_file()
    ended = table[
        ~table.astype(str).apply(lambda row: row.str.contains("fail", case=False)).any(axis=1)
    ]
    assert len(ended) == 3


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ("", "nothing to search"),
        ("[search]\nwidth = [1, 2]\n", "width"),
        ("[search]\nridge = {low = 5, high = 1}\n", "ridge"),
        ("[search]\nridge = 3\n", "ridge"),
        ("[search]\nridge = []\n", "ridge"),
        ("[search]\nridge = {low = -5, high = 1}\n", "ridge"),
        ("ridge = 2.5\n[search]\nridge = {low = 1, high = 9}\n", "low = 1.0 means all numbers"),
    ],
)
def test_a_space_that_makes_no_sense_is_one_sentence(
    folder: Path, search: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = folder / "wrong.toml"
    recipe.write_text(f'model = "ease"\n{search}')
    with pytest.raises(SystemExit) as stopped:
        main(["tune", "--split", "split", "--recipe", str(recipe), "--out", "wrong"])
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert words in line
    assert not (folder / "wrong").exists()


@pytest.fixture(scope="module")
def trained(folder: Path) -> str:
    recipe = read_recipe("mult-vae", ["hidden=[16]", "latent=4", "training.epochs=3"])
    train(split=folder / "split", recipe=recipe, out=folder / "again", seed=3, device="cpu",
          register=None)  # fmt: skip
    last = mlflow.last_active_run()
    assert last is not None
    return str(last.info.run_id)


def test_a_run_that_is_done_again_has_the_same_numbers(trained: str) -> None:
    done = reproduce(ReproduceOptions(run=trained))
    assert done.identical
    assert done.compared > 3
    assert done.results == []


def test_data_that_are_others_are_refused_by_fingerprint(folder: Path, trained: str) -> None:
    split(data=folder / "data", out=folder / "other",
          options=StrongOptions(held_out_users=49))  # fmt: skip
    with pytest.raises(InputError, match="fingerprint"):
        reproduce(ReproduceOptions(run=trained, split=folder / "other"))


def test_what_is_other_than_it_was_is_told(trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "recsys_vae.steps.rebuilding.version",
        lambda name: "0.0" if name == "torch" else version(name),
    )
    done = reproduce(ReproduceOptions(run=trained))
    assert any("torch" in str(one) and "0.0" in str(one) for one in done.circumstances)


@pytest.mark.usefixtures("folder")
def test_a_run_that_there_is_not_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("0" * 32, "rubbish", ""):
        with pytest.raises(SystemExit) as stopped:
            main(["reproduce", "--run", run])
        assert stopped.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

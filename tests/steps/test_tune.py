"""tune: trials as nested runs, early stops, kills, several processes, the winner registered."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from filelock import FileLock

from recsys_vae.cli import cli, main
from recsys_vae.errors import InputError
from recsys_vae.models.zoo import load_model
from recsys_vae.steps import trials
from recsys_vae.steps.fitting import fit
from recsys_vae.steps.recipes import read_recipe
from recsys_vae.steps.tune import Tuned, TuneOptions, tune
from tests.conftest import made_up_ratings, tracking_store

VAE = """
model = "mult-vae"
hidden = [8]
latent = 2
[training]
epochs = 4
[search]
latent = {low = 1, high = 8}
hidden = [[8], [8, 4]]
[search.training]
learning_rate = {low = 1e-5, high = 1e-1, log = true}
"""
LINEAR = """
model = "linear-vae"
hidden = [4]
latent = 2
ridge = 60.0
gate = 0.05
[search.training]
weight_decay = {low = 0.0, high = 0.1}
"""
EASE = 'model = "ease"\nridge = 100.0\n[search]\nridge = {low = 1.0, high = 5000.0, log = true}\n'


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tune")
    with tracking_store(folder, empty_database):
        made_up_ratings(60, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--out", "split"])
        Path("vae.toml").write_text(VAE)
        for name in ("ease.toml", "o'neil.toml"):
            Path(name).write_text(EASE)
        yield folder


def tuned(out: str, recipe: str = "ease.toml", **others: Any) -> Tuned:
    options: dict[str, Any] = {
        "split": Path("split"), "recipe": read_recipe(recipe), "trials": 3, "register": out
    }  # fmt: skip
    return tune(TuneOptions(**(options | {"out": Path(out)} | others)))


def runs_within(parent: str) -> "pd.DataFrame":
    found = mlflow.search_runs(filter_string=f"tags.`mlflow.parentRunId` = '{parent}'")
    assert isinstance(found, pd.DataFrame)
    return found


def latest(step: str) -> str:
    found = mlflow.search_runs(
        filter_string=f"tags.`recsys_vae.step` = '{step}'", order_by=["start_time desc"]
    )
    return str(found["run_id"].iloc[0])


def settings_of(done: Tuned) -> list[Any]:
    kept = done.table[done.table["state"] != "failed"]
    return kept.drop(columns=["trial", "seconds", "run", "why"]).to_numpy().tolist()


def test_the_best_of_a_closed_form_is_trained_and_registered() -> None:
    done = tuned("closed", study="closed")
    ridges = done.table["ridge"].tolist()
    assert (len(ridges), ridges[0]) == (3, 100.0)
    assert done.best.metric == done.table["metric"].max() == done.trained.validation
    assert load_model(Path("closed/model")).config.model_dump()["ridge"] in ridges
    version = mlflow.MlflowClient().get_model_version_by_alias("closed", "challenger")
    assert done.trained.uri == f"models:/closed/{version.version}"
    recipe = read_recipe("closed/best.toml")
    assert recipe.settings == {"ridge": done.best.values["ridge"]}
    within = runs_within(latest("tune"))
    assert sorted(within["tags.recsys_vae.step"]) == ["train", "trial", "trial", "trial"]
    assert within["params.model.ridge"].nunique() == 3
    # The study has its own file beside MLflow's, and MLflow's is untouched by it.
    assert Path("mlflow.studies.db").is_file()


def test_the_best_need_not_be_registered() -> None:
    done = tuned("nameless", study="nameless", register=None)
    assert "nameless" not in done.trained.uri
    assert [one.name for one in mlflow.search_registered_models() if one.name == "nameless"] == []
    command = ["tune", "--split", "split", "--recipe", "ease.toml", "--trials", "1"]
    before = len(mlflow.search_registered_models())
    shown = CliRunner().invoke(cli, [*command, "--register", "none", "--out", "unnamed"])
    assert shown.exit_code == 0, shown.output
    assert "@challenger" not in shown.output
    assert len(mlflow.search_registered_models()) == before


def test_the_same_command_again_adds_no_trials_and_more_trials_go_on() -> None:
    first = tuned("more")
    assert settings_of(tuned("more")) == settings_of(first)
    longer = tuned("more", trials=5)
    assert settings_of(longer)[:3] == settings_of(first)
    assert len(longer.table) == 5
    # All trials stand under the run that went on last.
    within = runs_within(latest("tune"))
    assert within["tags.recsys_vae.step"].tolist().count("trial") == 5


def test_a_killed_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = tuned("unbroken", "vae.toml", trials=4, study="unbroken")
    fits: list[Any] = []

    def killed(*arguments: Any, **options: Any) -> Any:
        fits.append(1)
        watch = options["on_epoch"]

        def killing(record: Any) -> None:
            watch(record)
            if len(fits) == 3 and record.epoch == 2:
                raise SystemExit(9)

        return fit(*arguments, **options | {"on_epoch": killing})

    with monkeypatch.context() as patch:
        patch.setattr(trials, "fit", killed)
        with pytest.raises(SystemExit):
            tuned("killed", "vae.toml", trials=4, study="killed")
    (own,) = Path("killed/unfinished").iterdir()
    assert [one.name for one in own.iterdir()] == ["trial-2"]
    said: list[str] = []
    options = TuneOptions(
        split=Path("split"), recipe=read_recipe("vae.toml"), trials=4, register="killed",
        study="killed", out=Path("killed"),
    )  # fmt: skip
    done = tune(options, said.append)
    assert said[0] == "1 trials whose process died are tried again"
    assert settings_of(done) == settings_of(unbroken)
    assert done.best.metric == unbroken.best.metric
    assert not Path("killed/unfinished").exists()


def test_a_trial_that_diverges_fails_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def diverging(model: Any, *arguments: Any, **options: Any) -> Any:
        if model.config.ridge == 100.0:
            raise InputError("the loss became nan")
        return fit(model, *arguments, **options)

    monkeypatch.setattr(trials, "fit", diverging)
    done = tuned("diverged", study="diverged")
    assert done.counts == {"finished": 2, "pruned": 0, "failed": 1}
    assert done.table.loc[0, "why"] == "the loss became nan"
    statuses = runs_within(latest("tune")).set_index("tags.recsys_vae.trial")["status"]
    assert statuses["0"] == "FAILED"


def test_where_every_trial_fails_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(*_arguments: Any, **_options: Any) -> Any:
        raise InputError("the loss became nan")

    monkeypatch.setattr(trials, "fit", diverging)
    with pytest.raises(InputError, match=r"no finished trial .*the loss became nan"):
        tuned("all-fail", study="all-fail")
    assert len(pd.read_csv("all-fail/trials.csv")) == 3


def test_two_processes_share_a_study() -> None:
    done = tuned("parallel", "vae.toml", trials=4, workers=2, study="parallel")
    assert sum(done.counts.values()) == 4
    assert done.table["trial"].tolist() == [0, 1, 2, 3]
    within = runs_within(latest("tune"))
    assert within["tags.recsys_vae.step"].tolist().count("trial") == 4
    assert set(within["status"]) <= {"FINISHED", "KILLED"}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigkill_at_any_time_and_the_same_command_again(workers: str) -> None:
    name = f"sigkill-{workers}"
    command = [
        sys.executable, "-m", "recsys_vae", "tune", "--split", "split", "--recipe", "vae.toml",
        "--trials", "6", "--workers", workers, "--study", name, "--register", name, "--out", name,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for _ in range(2):
        begun = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert begun.stderr is not None
        next((line for line in begun.stderr if line.startswith("trial ")), None)
        time.sleep(0.3)
        begun.send_signal(signal.SIGKILL)
        begun.wait()
        begun.stderr.close()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(f"{name}/trials.csv")
    died = table["why"].fillna("").str.contains("died")
    assert (~died).sum() == 6
    assert set(table.loc[~died, "state"]) <= {"finished", "pruned"}
    if workers == "1":
        unbroken = tuned("never-killed", "vae.toml", trials=6, study="never-killed")
        metrics = table.loc[~died, "metric"].dropna().tolist()
        assert metrics == pytest.approx(unbroken.table["metric"].dropna().tolist(), rel=1e-12)


def test_with_a_remote_store_the_study_lies_in_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_vae.steps.tune.tracking_uri", lambda: "https://mlflow.example.org")
    done = tuned("remote", trials=1)
    assert done.storage == "sqlite:///remote/study.db"
    assert Path("remote/study.db").is_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recipe", "mult-vae"], "recipe mult-vae has nothing to search: add a table"),
        (["--recipe", "ease.toml", "--metric", "coverage@10"], "--metric coverage@10 does not say"),
        (["--recipe", "ease.toml", "--set", "ridge=0.5"], "recipe ease, setting 'ridge' is 0.5"),
        (["--recipe", "ease.toml", "--study", "it's"], "--study it's: give a name without quotes"),
        (["--recipe", "o'neil.toml"], "recipe o'neil: rename the file so that no quote is in"),
        (["--recipe", "ease.toml", "--storage", "."], "--storage .* cannot be used"),
        (["--recipe", "ease.toml", "--storage", "mlflow.db"], "is a database of MLflow.s"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--split", "split", "--out", "refused", *options])
    assert ended.value.code == 2
    found = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(says, found), found


def test_a_study_that_another_process_searches_in_is_refused_whatever_the_folder() -> None:
    own = Path("taken-studies.db")
    tuned("taken", trials=1, study="taken", storage=str(own))
    (path,) = own.parent.glob(f"{own.name}.*.lock")
    with FileLock(path), pytest.raises(InputError, match="another process is searching in study"):
        tuned("taken-elsewhere", trials=1, study="taken", storage=str(own))
    done = tuned("taken-elsewhere", trials=1, study="taken", storage=str(own))
    assert done.counts["finished"] == 1


def test_the_first_trial_has_the_model_s_own_training() -> None:
    Path("linear.toml").write_text(LINEAR)
    done = tuned("linear", "linear.toml", trials=1)
    params = mlflow.get_run(done.table["run"][0]).data.params
    assert params["model.training.lr_schedule"] == "cosine"
    assert params["model.training.learning_rate"] == "0.002"


def test_the_winner_s_recipe_trains() -> None:
    tuned("recipe", "vae.toml", trials=2, study="recipe")
    found = tomllib.loads(Path("recipe/best.toml").read_text())
    assert found["model"] == "mult-vae"
    assert found["training"]["epochs"] == 4
    read_recipe("recipe/best.toml").make()


def test_a_study_goes_on_from_mlflow_s_store_alone() -> None:
    unbroken = tuned("at-once", "vae.toml", trials=6, study="at-once")
    tuned("elsewhere", "vae.toml", trials=4, study="elsewhere")
    Path("mlflow.studies.db").rename("mlflow.studies.db.kept")
    try:
        said: list[str] = []
        options = TuneOptions(
            split=Path("split"), recipe=read_recipe("vae.toml"), trials=6, study="elsewhere",
            register="elsewhere", out=Path("another-machine"),
        )  # fmt: skip
        done = tune(options, said.append)
        assert said[0] == "4 trials are known from MLflow"
        assert settings_of(done) == settings_of(unbroken)
        assert done.best == unbroken.best
        assert done.table["seconds"].min() > 0
        with pytest.raises(InputError, match="was begun with another 'seed'"):
            tuned("third", "vae.toml", study="elsewhere", seed=1)
    finally:
        Path("mlflow.studies.db.kept").replace("mlflow.studies.db")
    # The first machine learns what the other has tried.
    said.clear()
    assert settings_of(tune(options, said.append)) == settings_of(unbroken)
    assert said == ["2 trials are known from MLflow"]


def test_what_died_elsewhere_is_tried_again_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_arguments: Any, **_options: Any) -> Any:
        raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "fit", killed)
        for _ in range(2):
            with pytest.raises(SystemExit):
                tuned("dying", study="dying")
    Path("mlflow.studies.db").rename("mlflow.studies.db.kept")
    try:
        done = tuned("living", study="dying")
    finally:
        Path("mlflow.studies.db.kept").replace("mlflow.studies.db")
    assert done.counts == {"finished": 3, "pruned": 0, "failed": 2}
    assert done.table["why"].tolist()[:2] == ["its process died", "its process died, attempt 2"]
    assert done.table["metric"].notna().sum() == 3

"""What a run tells: where it came from, what it read, and what came of it, at a glance."""

import json
import subprocess
from pathlib import Path

import mlflow
import pytest

import recsys_vae
from recsys_vae.errors import InputError
from recsys_vae.interactions import Interactions
from recsys_vae.tracking import environment, runs
from recsys_vae.tracking.evaluations import tell_model
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.records import EpochRecord

_PACKAGE = Path(recsys_vae.__file__).parent


def _git(*arguments: str) -> str:
    return subprocess.check_output(["git", "-C", str(_PACKAGE), *arguments], text=True).strip()


@pytest.mark.usefixtures("store")
def test_a_run_is_found_by_step_name_and_commit() -> None:
    with step_run("train", name="train ease") as run:
        pass
    client = mlflow.MlflowClient()
    found = client.get_run(run.run_id)
    assert found.info.run_name == "train ease"
    assert found.data.tags["recsys_vae.step"] == "train"
    assert found.data.tags["recsys_vae.git_commit"] == _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain", "-uno"))
    assert found.data.tags["recsys_vae.git_dirty"] == str(dirty).lower()


@pytest.mark.usefixtures("store")
def test_the_environment_names_versions_processor_and_threads() -> None:
    with step_run("split") as run:
        pass
    path = mlflow.artifacts.download_artifacts(run_id=run.run_id, artifact_path="environment.json")
    found = json.loads(Path(path).read_text())
    assert found["recsys-vae"] == recsys_vae.__version__
    assert found["libraries"]["mlflow"] == mlflow.__version__
    assert found["threads"] >= 1
    assert found["cores"] >= 1
    assert found["processor"]
    assert found["git"]["recsys_vae.git_commit"] == _git("rev-parse", "HEAD")


def test_an_installed_copy_is_not_taken_for_the_project_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.check_call(["git", "init", "-q", str(tmp_path)])
    installed = tmp_path / "site-packages" / "recsys_vae" / "__init__.py"
    installed.parent.mkdir(parents=True)
    installed.touch()
    monkeypatch.setattr(recsys_vae, "__file__", str(installed))
    environment.git_state.cache_clear()
    assert environment.git_state() == {}
    environment.git_state.cache_clear()


@pytest.mark.usefixtures("store")
def test_an_input_shows_its_size_and_fingerprint(small: Interactions) -> None:
    with step_run("split") as run:
        run.dataset(small, "interactions", "split")
    (one,) = mlflow.get_run(run.run_id).inputs.dataset_inputs
    assert one.dataset.digest == small.fingerprint[:16]
    profile = json.loads(one.dataset.profile)
    assert (profile["num_rows"], profile["users"], profile["items"]) == (6, 3, 4)
    assert profile["density"] == 0.5
    assert profile["fingerprint"] == small.fingerprint


@pytest.mark.usefixtures("store")
def test_what_is_told_of_a_model_stands_in_its_training_and_on_its_own_page() -> None:
    with step_run("train") as run:
        model = mlflow.initialize_logged_model(name="model")
    tell_model(f"models:/{model.model_id}", {"test_recall@20": 0.25})
    assert mlflow.get_run(run.run_id).data.metrics["test_recall_at_20"] == 0.25
    (metric,) = mlflow.get_logged_model(model.model_id).metrics
    assert (metric.key, metric.value) == ("test_recall_at_20", 0.25)


@pytest.mark.usefixtures("store")
def test_pictures_are_logged_under_their_names_and_a_description_is_shown() -> None:
    with step_run("train") as run:
        run.plots({"a.png": lambda path: path.touch(), "b.png": lambda path: path.touch()})
        run.note("**best** of all")
    logged = mlflow.artifacts.list_artifacts(run_id=run.run_id, artifact_path="plots")
    assert sorted(one.path for one in logged) == ["plots/a.png", "plots/b.png"]
    assert mlflow.get_run(run.run_id).data.tags["mlflow.note.content"] == "**best** of all"


def _epoch(number: int) -> EpochRecord:
    terms = {"loss": 100.0 - number, "reconstruction": 90.0, "kl": 10.0}
    return EpochRecord(number, number, terms, 0.1, 0.01 * number, True, 0.1, 10.0)


@pytest.mark.usefixtures("store")
def test_every_epoch_is_there_in_the_end_however_quick_they_are() -> None:
    # Six numbers an epoch: more than MLflow takes at once.
    with step_run("train") as run:
        for number in range(1, 201):
            run.epoch(_epoch(number))
    points = mlflow.MlflowClient().get_metric_history(run.run_id, "train_loss")
    assert [(one.step, one.value) for one in points] == [(n, 100.0 - n) for n in range(1, 201)]


@pytest.mark.usefixtures("store")
def test_epochs_before_a_failure_are_there() -> None:
    def diverge() -> None:
        with step_run("train") as run:
            run.epoch(_epoch(1))
            raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        diverge()
    (found,) = mlflow.search_runs(experiment_names=["recsys-vae"], output_format="list")
    assert found.info.status == "FAILED"
    assert found.data.metrics["train_loss"] == 99.0


def test_a_server_that_is_not_there_is_told_at_once(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    refused = "MLflow cannot use http://127.0.0.1:9 .*: check MLFLOW_TRACKING_URI"
    with pytest.raises(InputError, match=refused), step_run("split"):
        pass
    assert not (store / "mlruns").exists()


@pytest.mark.usefixtures("store")
def test_slow_epochs_can_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_SECONDS_BETWEEN_WRITES", 0)
    with step_run("train") as run:
        run.epoch(_epoch(1))
        assert mlflow.get_run(run.run_id).data.metrics["validation"] == 0.01

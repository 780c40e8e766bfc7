"""tidy: what no alias needs goes once it is old, and nothing else."""

import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner

from recsys_vae.cli import cli
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.tracking.registry import log_model, model_folder, register
from recsys_vae.tracking.runs import step_run
from recsys_vae.tracking.standing import make_champion, standing
from recsys_vae.tracking.tidying import tidy
from tests.conftest import tracking_store
from tests.models.made_up import made_up

pytestmark = pytest.mark.usefixtures("store")
_NAME = "recsys-vae"


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Iterator[Path]:
    with tracking_store(tmp_path, empty_database):
        save_model(
            make_model("popularity", {}).fit(made_up(30, 9, 0.4, 0), FitOptions()), Path("m")
        )
        yield tmp_path


def logged(name: str | None = _NAME) -> str:
    with step_run("train"):
        uri = log_model(load_model(Path("m")), Path("m"))
        if name is not None:
            register(uri, name)
    time.sleep(0.002)  # times are in milliseconds
    return uri


def known() -> set[str]:
    client = mlflow.MlflowClient()
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {f"models:/{one.model_id}" for one in client.search_logged_models(experiments)}


def versions() -> set[str]:
    return {str(one.version) for one in mlflow.MlflowClient().search_model_versions("")}


def test_what_an_alias_needs_stays_and_the_rest_can_be_freed() -> None:
    first, second, third, fourth = (logged() for _ in range(4))
    loose = logged(None)
    make_champion(standing(_NAME), "1")
    make_champion(standing(_NAME), "3")  # so that 1 is the previous one
    client = mlflow.MlflowClient()
    with step_run("evaluate"):
        mlflow.log_metric("ndcg_at_100", 0.5)
    assert standing(_NAME).challenger == "4"

    assert tidy(1.0).models == 0
    counted = tidy(0.0, dry_run=True)
    assert (counted.models, counted.versions, counted.kept) == (2, 1, 3)
    assert counted.bytes > 1_000
    assert known() == {first, second, third, fourth, loose}

    done = tidy(0.0)
    assert done == counted
    assert known() == {first, third, fourth}
    assert versions() == {"1", "3", "4"}
    for version in ("1", "3", "4"):
        assert load_model(model_folder(f"models:/{_NAME}/{version}")).name == "popularity"
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert len(runs) == 6  # all of them, with what they measured
    assert tidy(0.0).models == 0


def test_the_age_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    old = logged(None)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40 * 86_400)
    assert tidy(41.0, dry_run=True).models == 0
    assert tidy(39.0).models == 1
    assert old not in known()


def test_models_of_others_stay() -> None:
    client = mlflow.MlflowClient()
    run = client.create_run("0")
    client.create_logged_model("0", name="theirs", source_run_id=run.info.run_id)
    client.create_logged_model("0", name="unowned")
    before = known()
    time.sleep(0.002)
    assert len(before) == 2
    assert tidy(0.0) == tidy(0.0, dry_run=True)
    assert known() == before


def test_the_command_says_what_it_did_and_what_frees_the_space() -> None:
    logged()
    logged()
    shown = CliRunner().invoke(cli, ["tidy", "--older-than", "0", "--dry-run"]).output
    assert shown.startswith("would be marked as deleted: 1 models")
    assert "mlflow gc" not in shown
    shown = CliRunner().invoke(cli, ["tidy", "--older-than", "0"]).output
    assert shown.startswith("marked as deleted: 1 models")
    assert "1 versions of the registry; kept: 1 models" in shown
    uri = mlflow.get_tracking_uri()
    assert f"MLFLOW_TRACKING_URI={uri} mlflow gc --backend-store-uri {uri}" in shown


def test_an_empty_store_has_nothing_to_tidy() -> None:
    assert (tidy(0.0).models, tidy(0.0).versions, tidy(0.0).kept) == (0, 0, 0)


def test_many_models_are_counted_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_vae.tracking.tidying._PAGE", 2)
    for _ in range(5):
        logged()
    assert (tidy(0.0).models, len(known())) == (4, 1)
    assert versions() == {"5"}

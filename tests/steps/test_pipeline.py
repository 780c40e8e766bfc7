"""The whole line on a small data set, and each step by itself."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import mlflow
import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.ingest.sample import make_sample
from recsys_vae.splitting import load_split
from recsys_vae.steps.main import MainOptions, Outcome, run_main
from recsys_vae.steps.outcome import text
from recsys_vae.steps.recipes import Recipe
from tests.conftest import tracking_store
from tests.contract import pickled

_REPOSITORY = Path(__file__).parents[2]
_QUICK: Final = {"hidden": [64], "latent": 16, "training": {"epochs": 20}}
_STEPS: Final = ["ingest", "split", "train", "train", "evaluate", "recommend", "score"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """A working folder with ratings.csv and movies.csv: the sample in small."""
    folder = tmp_path_factory.mktemp("line")
    sample = make_sample(n_users=400, n_items=150)
    sample.ratings.to_csv(folder / "ratings.csv", index=False)
    sample.catalogue.frame.rename_axis("item").reset_index().to_csv(
        folder / "movies.csv", index=False
    )
    with tracking_store(folder, empty_database):
        yield folder


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Outcome:
    return run_main(
        MainOptions(
            data="ratings.csv",
            items=Path("movies.csv"),
            recipes=[Recipe("mult-vae", dict(_QUICK)), Recipe("popularity", {})],
            device="cpu",
            out=folder / "out",
        )
    )


def _runs(outcome: Outcome) -> list[Any]:
    """The steps' runs, in the order in which they began."""
    client = mlflow.MlflowClient()
    experiment = client.get_run(outcome.run_id).info.experiment_id
    children = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{outcome.run_id}'")
    return sorted(children, key=lambda run: run.info.start_time)


def _run_of(outcome: Outcome, step: str) -> Any:
    return next(run for run in _runs(outcome) if run.data.tags["recsys_vae.step"] == step)


def _validation(outcome: Outcome) -> float:
    return outcome.steps["train mult-vae"].made.metrics["mult-vae_validation_ndcg@100"]


def test_the_steps_are_finished_runs_under_one_parent(outcome: Outcome) -> None:
    assert [run.data.tags["recsys_vae.step"] for run in _runs(outcome)] == _STEPS
    assert {run.info.status for run in _runs(outcome)} == {"FINISHED"}
    parent = mlflow.MlflowClient().get_run(outcome.run_id)
    assert parent.data.tags["recsys_vae.step"] == "main"
    assert parent.info.status == "FINISHED"


def test_mult_vae_beats_popularity_on_the_sample(outcome: Outcome) -> None:
    table = pd.read_csv(outcome.out / "evaluation" / "metrics.csv")
    assert table["model"].unique().tolist() == ["mult-vae", "popularity"]
    ours, popular = (rows.set_index("metric") for _, rows in table.groupby("model"))
    for name in ("recall@20", "recall@50", "ndcg@100"):
        assert ours["low"][name] > popular["high"][name]


@pytest.mark.usefixtures("outcome")
def test_the_files_of_every_step_are_there_and_no_others_are_left_behind(folder: Path) -> None:
    out = folder / "out"
    expected = {
        "data/ingest.json", "data/items.parquet", "data/interactions/interactions.json",
        "split/split.json", "split/train/interactions.json", "models/mult-vae/model.json",
        "models/popularity/weights.safetensors", "evaluation/metrics.csv",
        "evaluation/per_user.parquet", "lists/examples.csv", "lists/all-users/_manifest.json",
        "lists/all-users/part-00000.parquet",
    }  # fmt: skip
    present = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert expected <= present
    assert not [path for path in present if "partial" in path or ".old-" in path]
    assert pickled(out) == []


def test_training_logs_every_epoch_with_settings_data_and_model(outcome: Outcome) -> None:
    run = _run_of(outcome, "train")
    client = mlflow.MlflowClient()
    points = client.get_metric_history(run.info.run_id, "train_loss")
    epochs = len(points)
    assert 1 < epochs <= 20
    for name in ("train_loss", "train_reconstruction", "train_kl", "kl_weight", "validation"):
        points = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in points] == list(range(1, epochs + 1))
    assert run.data.params["model.latent"] == "16"
    assert run.data.params["model.training.epochs"] == "20"
    assert run.data.params["fit.seed"] == "0"
    assert run.data.tags["recsys_vae.model"] == "mult-vae"
    assert {one.dataset.name for one in run.inputs.dataset_inputs} == {"train", "validation"}
    assert run.data.metrics["validation_ndcg_at_100"] == _validation(outcome)


def test_runs_have_names_descriptions_and_pictures(outcome: Outcome) -> None:
    names = [run.info.run_name for run in _runs(outcome)]
    assert names == [
        "ingest", "split", "train mult-vae", "train popularity", "evaluate", "recommend", "score",
    ]  # fmt: skip
    client = mlflow.MlflowClient()
    trained, judged = _run_of(outcome, "train"), _run_of(outcome, "evaluate")
    parent = client.get_run(outcome.run_id)
    assert parent.info.run_name == "main ratings.csv"
    drawn = {one.path for one in client.list_artifacts(trained.info.run_id, "plots")}
    assert drawn == {"plots/learning-curves.png", "plots/latent-kl.png"}
    kept = {one.path for one in client.list_artifacts(judged.info.run_id, "evaluation")}
    pictures = {f"evaluation/{name}.png" for name in ("models", "activity", "long-tail")}
    assert pictures <= kept
    assert "NDCG@100" in trained.data.tags["mlflow.note.content"]
    for run in (judged, parent):
        note = run.data.tags["mlflow.note.content"]
        assert note.index("mult-vae") < note.index("popularity")  # the better one first


def test_trainings_are_compared_by_what_their_models_reached_on_the_test_users(
    outcome: Outcome,
) -> None:
    trained = [run for run in _runs(outcome) if run.data.tags["recsys_vae.step"] == "train"]
    table = pd.read_csv(outcome.out / "evaluation" / "metrics.csv").set_index("model")
    for run in trained:
        for _, row in table.loc[run.data.tags["recsys_vae.model"]].iterrows():
            name = str(row["metric"]).replace("@", "_at_")
            # Text with 17 digits and back.
            assert run.data.metrics[f"test_{name}"] == pytest.approx(row["mean"], rel=1e-12)
            assert f"validation_{name}" in run.data.metrics


def test_the_best_validation_is_what_is_kept(outcome: Outcome) -> None:
    run_id = _run_of(outcome, "train").info.run_id
    points = mlflow.MlflowClient().get_metric_history(run_id, "validation")
    # Weights and users are the same, so the metric is, too.
    assert _validation(outcome) == max(one.value for one in points)


def test_the_evaluation_is_logged_as_metrics_and_as_a_table(outcome: Outcome, folder: Path) -> None:
    table = pd.read_csv(folder / "out" / "evaluation" / "metrics.csv")
    assert len(table) == 6  # two models, three metrics
    run = _run_of(outcome, "evaluate")
    parent = mlflow.MlflowClient().get_run(outcome.run_id)
    for row in table.itertuples():
        name = f"{row.model}_{row.metric}".replace("@", "_at_")
        # Text with 17 digits and back.
        assert run.data.metrics[name] == pytest.approx(row.mean, rel=1e-12)
        assert parent.data.metrics[name] == run.data.metrics[name]
    logged = mlflow.artifacts.list_artifacts(run_id=run.info.run_id)
    assert {"metrics.json", "evaluation"} <= {one.path for one in logged}


@pytest.mark.usefixtures("outcome")
def test_the_mean_of_the_table_is_the_mean_of_the_users(folder: Path) -> None:
    evaluation = folder / "out" / "evaluation"
    per_user = pd.read_parquet(evaluation / "per_user.parquet")
    means = per_user.drop(columns="user").groupby("model").mean().stack()
    table = pd.read_csv(evaluation / "metrics.csv").set_index(["model", "metric"])["mean"]
    # Sums of some eighty numbers in another order.
    assert len(means) == len(table) == 6
    assert (means - table).abs().max() < 1e-12


def test_the_lists_have_titles_and_nothing_that_was_given(outcome: Outcome, folder: Path) -> None:
    frame = pd.read_csv(outcome.out / "lists" / "examples.csv")
    assert frame["user"].nunique() == 3
    assert len(frame) == 30
    assert frame["title"].str.startswith("The ").all()
    given = load_split(folder / "out" / "split").test.given.frame()
    for user, rows in frame.groupby("user"):
        assert not set(rows["item"]) & set(given.loc[given["user"] == user, "item"])


def test_everyone_gets_a_list(outcome: Outcome) -> None:
    lists = pd.read_parquet(outcome.lists / "part-00000.parquet")
    manifest = json.loads((outcome.lists / "_manifest.json").read_text())
    assert lists["user"].nunique() == outcome.steps["ingest"].made.facts["users"]
    assert manifest["counts"]["rows"] == len(lists)
    assert manifest["counts"]["users"] == lists["user"].nunique()


def test_the_first_model_is_registered_and_answers(outcome: Outcome) -> None:
    version = mlflow.MlflowClient().get_model_version_by_alias("recsys-vae", "challenger")
    assert outcome.version == f"models:/recsys-vae/{version.version}"
    served = mlflow.pyfunc.load_model("models:/recsys-vae@challenger")
    answer = served.predict(pd.DataFrame({"history": [[1001, 1002]]}))
    assert len(answer["items"][0]) == 10


def test_what_is_shown_at_the_end_tells_all_there_is(outcome: Outcome) -> None:
    shown = text(outcome)
    for words in (
        "mult-vae",
        "popularity",
        "Recall@20",
        "NDCG@100",
        "seconds",
        "The ",
        "mlflow ui",
    ):
        assert words in shown


def test_without_a_file_of_titles_the_line_runs_as_well(folder: Path) -> None:
    done = run_main(
        MainOptions(data="ratings.csv", recipes=[Recipe("popularity", {})], out=folder / "untitled")
    )
    listed = pd.read_csv(done.out / "lists" / "examples.csv")
    assert list(listed.columns) == ["user", "rank", "item", "score"]
    assert "The " not in done.steps["recommend"].made.shown


@pytest.mark.usefixtures("folder")
def test_each_step_runs_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ingest", "--data", "ratings.csv", "--items", "movies.csv", "--out", "alone/data"])
    main(["split", "--data", "alone/data", "--held-out-users", "50", "--out", "alone/split"])
    quick = ["--set", "hidden=[16]", "--set", "latent=4", "--set", "training.epochs=2"]
    main(["train", "--split", "alone/split", *quick, "--out", "alone/mult-vae"])
    main(["train", "--split", "alone/split", "--recipe", "als", "--out", "alone/als"])
    both = "alone/mult-vae,alone/als"
    main(["evaluate", "--split", "alone/split", "--model", both, "--out", "alone/evaluation"])
    lists = ["--model", "alone/mult-vae", "--histories", "ratings.csv"]
    users = ["--users", "viewer-0003,viewer-0007", "--k", "5", "--out", "alone/lists.jsonl"]
    main(["recommend", *lists, *users, "--items", "movies.csv"])
    main(["score", *lists, "--k", "7", "--out", "alone/lists"])

    shown = capsys.readouterr().out
    assert "als" in shown
    assert "viewer-0007" in shown
    named = pd.read_json("alone/lists.jsonl", lines=True)
    assert named.groupby("user").size().to_dict() == {"viewer-0003": 5, "viewer-0007": 5}
    everyone = pd.read_parquet("alone/lists/part-00000.parquet")
    assert everyone.groupby("user").size().to_dict() == dict.fromkeys(
        pd.read_csv("ratings.csv")["user"], 7
    )
    # The two verbs agree on the items, user by user.
    first = everyone[everyone["user"] == "viewer-0003"].sort_values("rank")["item"].tolist()
    assert named[named["user"] == "viewer-0003"].sort_values("rank")["item"].tolist() == first[:5]


@pytest.mark.slow
def test_mlflow_runs_an_entry_point_of_the_project(folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    ratings, out = folder / "ratings.csv", folder / "project"
    command = [
        sys.executable, "-m", "mlflow", "run", str(_REPOSITORY), "--env-manager", "local",
        "-e", "ingest", "-P", f"data={ratings}", "-P", f"out={out}",
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=folder, env=environment)
    assert (out / "ingest.json").is_file()

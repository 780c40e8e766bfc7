"""A tracking server somewhere else: everything goes through it, and nothing depends on folders."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from benchmarks.server import tracking_server
from recsys_vae.cli import cli
from recsys_vae.ingest.sample import make_sample
from tests.conftest import tracked_at


def _verb(*arguments: str) -> None:
    cli.main(arguments, standalone_mode=False)


def test_runs_models_and_lists_outlive_the_folders_that_they_were_made_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, work, new = (tmp_path / name for name in ("server", "work", "new"))
    for folder in (server, work, new):
        folder.mkdir()
    make_sample(n_users=300, n_items=80).ratings.to_csv(tmp_path / "ratings.csv", index=False)
    line = ("main", "--data", "../ratings.csv", "--recipes", "ease,popularity", "--out", "out")
    with tracking_server(server) as address, tracked_at(address, work):
        _verb(*line)
        capsys.readouterr()
        _verb(*line)
        assert capsys.readouterr().err.count(": reused") == 7
        recipe = str(Path(__file__).parents[2] / "pipelines" / "recipes" / "ease.toml")
        tune = ("tune", "--recipe", recipe, "--register", "tuned", "--study", "ridge")
        _verb(*tune, "--split", "out/split", "--trials", "2", "--out", "tuned")
        shutil.rmtree("tuned")
        client = mlflow.MlflowClient(address)
        (main, *_) = client.search_runs(["1"], "tags.`recsys_vae.step` = 'main'")
        (evaluation, *_) = client.search_runs(["1"], "tags.`recsys_vae.step` = 'evaluate'")
    # Nothing was written past the server, and both folders may go elsewhere.
    assert [one.name for one in work.iterdir()] == ["out"]
    (work / "out" / "split").rename(tmp_path / "split")
    shutil.rmtree(work)
    server.rename(tmp_path / "moved")
    with tracking_server(tmp_path / "moved") as address, tracked_at(address, new):
        lists = ("--k", "5", "--out", "lists", "--model", "models:/recsys-vae@challenger")
        _verb("score", "--histories", "../ratings.csv", *lists)
        manifest = json.loads((new / "lists" / "_manifest.json").read_text())
        assert manifest["counts"]["users"] > 250
        capsys.readouterr()
        _verb("compare", "--runs", evaluation.info.run_id)
        assert "ease" in capsys.readouterr().out
        _verb("report", "--run", main.info.run_id, "--out", "report.html")
        assert (new / "report.html").read_text("utf-8").endswith("</html>\n")
        _verb("promote", "--split", "../split")
        client = mlflow.MlflowClient(address)
        champion = client.get_model_version_by_alias("recsys-vae", "champion")
        assert str(champion.version) == "1"
        # The study is where the runs are.
        capsys.readouterr()
        _verb(*tune, "--split", "../split", "--trials", "3", "--out", "tuned")
        assert "2 trials are known from MLflow" in capsys.readouterr().err
        assert len((new / "tuned" / "trials.csv").read_text().splitlines()) == 1 + 3

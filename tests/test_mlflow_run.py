"""`mlflow run`: from a path and from a git address, every entry point of a day's work."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import mlflow
import pytest

from recsys_vae.ingest.sample import make_sample
from tests.conftest import tracking_store

_REPOSITORY: Final = Path(__file__).parent.parent
Run = Callable[..., str]
pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, empty_database: Path) -> Iterator[Run]:
    """Run an entry point, in a working folder with ratings and a store of its own."""
    make_sample(n_users=300, n_items=80).ratings.to_csv(tmp_path / "ratings.csv", index=False)
    with tracking_store(tmp_path, empty_database):
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_PYTHON_REFRESH": "quiet",
        }

        def entry(project: str, name: str, **parameters: Any) -> str:
            given = [f"{key}={value}" for key, value in parameters.items()]
            done = subprocess.run(
                [
                    sys.executable, "-m", "mlflow", "run", project, "--env-manager", "local",
                    "--experiment-name", "recsys-vae", "-e", name,
                    *(part for one in given for part in ("-P", one)),
                ],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        yield entry


@pytest.mark.usefixtures("run")
def test_a_days_work_goes_through_entry_points_alone(run: Run, tmp_path: Path) -> None:
    def entry(name: str, **parameters: Any) -> str:
        return run(str(_REPOSITORY), name, **parameters)

    line = {"data": tmp_path / "ratings.csv", "recipes": "ease,mult-vae", "out": tmp_path / "out"}
    line["set"] = "mult-vae.training.epochs=2; mult-vae.hidden=[16]; mult-vae.latent=4"
    said = entry("main", **line)
    assert "split: begun" in said
    said = entry("main", **line, k=5)
    assert said.count(": reused") == 5
    split, model = tmp_path / "out" / "split", tmp_path / "out" / "models" / "ease"
    entry("promote", split=split)
    recipe = tmp_path / "quick.toml"
    recipe.write_text(
        'model = "mult-vae"\nhidden = [16]\nlatent = 4\n'
        "[training]\nepochs = 2\n[search]\nlatent = [4, 8]\n"
    )
    tuned = tmp_path / "tuned"
    entry("tune", split=split, recipe=recipe, trials=2, register="tuned", out=tuned)
    assert (tuned / "best.toml").is_file()
    judged = tmp_path / "judged"
    entry("evaluate", split=split, model=model, metrics="ndcg@20", out=judged)
    assert "ease" in entry("compare", runs=judged)
    page = tmp_path / "report.html"
    entry("report", run=judged, out=page)
    assert page.is_file()
    histories = tmp_path / "ratings.csv"
    entry("recommend", histories=histories, model="models:/recsys-vae@champion", k=3)
    entry("score", histories=histories, model="models:/recsys-vae@champion", k=3,
          out=tmp_path / "lists")  # fmt: skip
    (trained, *_) = mlflow.search_runs(
        experiment_names=["recsys-vae"],
        filter_string="tags.`recsys_vae.step` = 'train'",
        output_format="list",
    )
    assert "identical" in entry("reproduce", run=trained.info.run_id, split=split)


def test_a_git_address_will_do(run: Run, tmp_path: Path) -> None:
    daemon = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip(), "git-daemon")
    if not daemon.is_file() or shutil.which("git") is None:
        pytest.skip("git has no git-daemon here to serve a repository")
    served = tmp_path / "served"
    clone = ["git", "clone", "--quiet", "--bare", str(_REPOSITORY), str(served / "project.git")]
    subprocess.check_call(clone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["git", "daemon", "--export-all", f"--base-path={served}", f"--port={port}",
               "--listen=127.0.0.1"]  # fmt: skip
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        _wait_for(port)
        address = f"git://127.0.0.1:{port}/project.git"
        run(address, "ingest", data=tmp_path / "ratings.csv", out=tmp_path / "data")
    finally:
        server.terminate()
        server.communicate()
    assert (tmp_path / "data" / "ingest.json").is_file()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the git daemon does not answer")

"""A store that is not there yet, met by several processes at once."""

import multiprocessing
import os
from pathlib import Path
from typing import Final

import mlflow
import pytest

from recsys_vae.errors import InputError
from recsys_vae.tracking.runs import step_run
from recsys_vae.tracking.steps_within import steps_within

_PROCESSES: Final = 8


def _go_to(folder: Path) -> None:
    os.chdir(folder)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    # MLflow leaves it to child processes; it is of another test's store.
    os.environ.pop("MLFLOW_EXPERIMENT_ID", None)


def _meet(number: int) -> str:
    """Read or write; whoever reads is told in one sentence that there is no such run."""
    if number % 2:
        with pytest.raises(InputError, match="there is no MLflow run a"):
            steps_within("a" * 32, ["train"])
        return ""
    with step_run("split") as run:
        run.metrics({"number": number})
    return run.run_id


def test_eight_processes_at_once_all_find_it_usable(tmp_path: Path) -> None:
    # From a server that has everything imported, so that they come at the same moment.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__, "mlflow.store.tracking.sqlalchemy_store"])
    with processes.Pool(_PROCESSES, _go_to, (tmp_path,)) as pool:
        run_ids = pool.map(_meet, range(_PROCESSES), chunksize=1)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = [client.get_run(one) for one in run_ids if one]
    assert len(found) == _PROCESSES // 2
    assert [one.data.metrics["number"] for one in found] == [0, 2, 4, 6]

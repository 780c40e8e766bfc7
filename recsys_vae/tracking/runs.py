"""MLflow runs of the pipeline's steps."""

import logging
import os
import posixpath
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

# MLflow reads it at import; tracking an interaction file is nobody else's business.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric
from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from sqlalchemy.exc import SQLAlchemyError

from recsys_vae import __version__
from recsys_vae.errors import InputError, reason
from recsys_vae.interactions import Interactions
from recsys_vae.tracking.environment import environment, git_state
from recsys_vae.tracking.inputs import InteractionsDataset
from recsys_vae.training.distributed import leads_here
from recsys_vae.training.records import EpochRecord

EXPERIMENT = "recsys-vae"
TAG_STEP = "recsys_vae.step"
STEP_RUN = "recsys_vae.run."
"""Of a run of `main`: before the name of a step, whose run did it, now or before."""
PLOTS: Final = "plots"
Draw = Callable[[Path], None]
_NOT_IN_NAMES: Final = re.compile(r"[^/\w.\- ]")
_LONGEST_NAME: Final = 250
_ENDED: Final[list[str]] = []
"""The run that ended last in this process, if any: MLflow itself would name the one it is in."""
_TAKEN: Final[set[str]] = set()
"""Experiments that this process chose by their name."""
_SECONDS_BETWEEN_WRITES: Final = 2
"""A write takes some 10 ms of a core: as much as a small epoch can bear to lose."""
_SECONDS_FOR_A_SERVER: Final = 20
_METRICS_AT_ONCE: Final = 1_000
"""The most that MLflow takes."""


def quiet() -> None:
    """Silence the library's notes on its own housekeeping; warnings still show."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


class StepRun:
    """The MLflow run of one step: what a step may log."""

    def __init__(self, run: mlflow.ActiveRun) -> None:
        """Wrap an active run."""
        self.run_id: str = run.info.run_id
        self._epochs: list[Metric] = []
        self._written = time.monotonic()

    def params(self, prefix: str, values: Mapping[str, Any]) -> None:
        """Log settings, nested ones flattened with dots; None is logged as "default"."""
        flat: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, Mapping):
                self.params(f"{prefix}.{key}", value)
            else:
                flat[f"{prefix}.{key}"] = "default" if value is None else value
        if flat:
            mlflow.log_params(flat)

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Log numbers; "@" is not allowed in MLflow's names and becomes "_at_"."""
        clean = {metric_name(name): float(value) for name, value in values.items()}
        mlflow.log_metrics(clean, step=step)

    def epoch(self, record: EpochRecord) -> None:
        """Log one training epoch; quick ones are written together, every two seconds."""
        values = {f"train_{name}": value for name, value in record.terms.items()}
        values |= {"kl_weight": record.kl_weight, "users_per_second": record.users_per_second}
        if record.validation is not None:
            values["validation"] = record.validation
        now = int(time.time() * 1000)
        self._epochs += [
            Metric(metric_name(name), float(value), now, record.epoch)
            for name, value in values.items()
        ]
        if time.monotonic() - self._written >= _SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Write the epochs that wait to be written."""
        for start in range(0, len(self._epochs), _METRICS_AT_ONCE):
            part = self._epochs[start : start + _METRICS_AT_ONCE]
            mlflow.MlflowClient().log_batch(self.run_id, metrics=part)
        self._epochs, self._written = [], time.monotonic()

    def dataset(self, interactions: Interactions, name: str, context: str) -> None:
        """Log interactions as an input of the run, by fingerprint."""
        mlflow.log_input(InteractionsDataset(interactions, name), context=context)
        mlflow.set_tag(f"recsys_vae.fingerprint.{name}", interactions.fingerprint)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file or folder."""
        if path.is_dir():
            mlflow.log_artifacts(str(path), folder or path.name)
        else:
            mlflow.log_artifact(str(path), folder)

    def table(self, frame: pd.DataFrame, file: str) -> None:
        """Log a table that the UI shows, such as "lists.json"."""
        mlflow.log_table(frame, file)

    def notes(self, values: Mapping[str, Any], file: str) -> None:
        """Log what programs read again, as a file of JSON."""
        mlflow.log_dict(dict(values), file)

    def tags(self, values: Mapping[str, str]) -> None:
        """Log tags to find the run by."""
        mlflow.set_tags(dict(values))

    def note(self, markdown: str) -> None:
        """Write what the UI shows as the run's description."""
        mlflow.set_tag(MLFLOW_RUN_NOTE, markdown)

    def plots(self, drawn: Mapping[str, Draw]) -> None:
        """Log pictures.

        Args:
            drawn: what draws each, by file name; it is given the path to write.
        """
        with TemporaryDirectory() as folder:
            for name, draw in drawn.items():
                draw(Path(folder) / name)
            mlflow.log_artifacts(folder, PLOTS)


def metric_name(name: str) -> str:
    """Write a name as MLflow allows it: of few signs, as a path in its shortest form, not long.

    >>> metric_name("ease (2)/../a_ndcg@20")
    'a_ndcg_at_20'
    """
    clean = _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))[-_LONGEST_NAME:]
    return posixpath.normpath(clean).lstrip("./") or "_"


class SilentRun(StepRun):
    """The run of a process that only helps the first one: it logs nothing."""

    def __init__(self) -> None:
        """Stand for no MLflow run."""
        self.run_id = ""

    def epoch(self, record: EpochRecord) -> None:
        """Log nothing."""

    def params(self, prefix: str, values: Mapping[str, Any]) -> None:
        """Log nothing."""

    def metrics(self, values: Mapping[str, float], *, step: int | None = None) -> None:
        """Log nothing."""

    def dataset(self, interactions: Interactions, name: str, context: str) -> None:
        """Log nothing."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Log nothing."""

    def table(self, frame: pd.DataFrame, file: str) -> None:
        """Log nothing."""

    def notes(self, values: Mapping[str, Any], file: str) -> None:
        """Log nothing."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Log nothing."""

    def note(self, markdown: str) -> None:
        """Log nothing."""

    def plots(self, drawn: Mapping[str, Draw]) -> None:
        """Log nothing."""


@contextmanager
def step_run(
    step: str, *, name: str | None = None, system_metrics: bool = False
) -> Iterator[StepRun]:
    """Run a step inside an MLflow run.

    Takes up the run that `mlflow run` prepared; within another step, the run is nested.

    Args:
        step: its name.
        name: of the run, unless `mlflow run` has named it; None: the step's.
        system_metrics: whether to record processor and memory use.

    Yields:
        What the step logs to.

    Raises:
        InputError: the tracking store cannot be used.
    """
    quiet()
    if not leads_here():
        yield SilentRun()
        return
    nested = mlflow.active_run() is not None
    prepared = os.environ.get("MLFLOW_RUN_ID") is not None and not nested
    if system_metrics:
        mlflow.set_system_metrics_sampling_interval(_SECONDS_BETWEEN_WRITES)
    with reachable_store():
        if not prepared and not nested:
            _choose_experiment()
        started = mlflow.start_run(
            run_name=None if prepared else name or step,
            nested=nested,
            log_system_metrics=system_metrics,
        )
    with started as run:
        with reachable_store():  # the first files: whether the store of artifacts takes any
            mlflow.set_tags({TAG_STEP: step, "recsys_vae.version": __version__, **git_state()})
            mlflow.log_dict(environment(), "environment.json")
        tracked = StepRun(run)
        try:
            yield tracked
        finally:
            tracked.flush()
            _ENDED[:] = [tracked.run_id]


def _choose_experiment() -> None:
    """Take the experiment that MLflow's own variables name, or ours."""
    number = os.environ.get(MLFLOW_EXPERIMENT_ID.name)
    # MLflow itself writes the number there, for processes of ours.
    if number is not None and number not in _TAKEN:
        mlflow.set_experiment(experiment_id=number)
    else:
        name = os.environ.get(MLFLOW_EXPERIMENT_NAME.name, EXPERIMENT)
        _TAKEN.add(str(mlflow.set_experiment(name).experiment_id))


@contextmanager
def reachable_store() -> Iterator[None]:
    """Tell in one sentence what keeps MLflow from its store.

    Raises:
        InputError: the tracking store cannot be reached, opened or understood.
    """
    try:
        make_store()
        yield
    except InputError:
        raise
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        # What the environment says: MLflow itself may refuse to name a store it cannot parse.
        store = os.environ.get("MLFLOW_TRACKING_URI", "the default store")
        raise InputError(
            f"MLflow cannot use {store} ({reason(error)}): check MLFLOW_TRACKING_URI (a relative "
            "sqlite path is relative to the working folder), the experiment and free space"
        ) from error


def make_store() -> None:
    """Make sure that the store is there and answers.

    Raises:
        MlflowException: it cannot be used.
        OSError: no server answers.
    """
    _make_store(tracking_uri())


@lru_cache(maxsize=8)
def _make_store(uri: str) -> None:
    """Let one process at a time make the tables of a fresh SQLite store.

    Whoever comes first, also to read only, makes them; two at once would both fail.
    """
    if uri.startswith(("http://", "https://")):
        _refuse_no_server(uri)
    path = uri.partition("?")[0].removeprefix("sqlite:///")
    if not uri.startswith("sqlite:///") or not Path(path).parent.is_dir():
        return
    with FileLock(f"{path}.making.lock", timeout=120):
        mlflow.MlflowClient(uri).search_experiments(max_results=1)


def _refuse_no_server(uri: str) -> None:
    """Find out at once whether a server answers: MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((parts.hostname or "", port), _SECONDS_FOR_A_SERVER):
        pass


def tracking_uri() -> str:
    """Say where runs are kept."""
    return str(mlflow.get_tracking_uri())


def last_run_id() -> str:
    """Give the id of the run of a step that ended last in this process, whatever it was within."""
    return _ENDED[-1] if _ENDED else ""


def run_exists(run_id: str) -> bool:
    """Say whether the store has a run that was not deleted."""
    with reachable_store():
        try:
            found = mlflow.MlflowClient().get_run(run_id)
        except MlflowException:
            return False
    return str(found.info.lifecycle_stage) == "active"


def model_exists(uri: str) -> bool:
    """Say whether the store has a logged model, "models:/m-...", that was not deleted."""
    with reachable_store():
        try:
            mlflow.MlflowClient().get_logged_model(uri.removeprefix("models:/"))
        except MlflowException:
            return False
    return True


def end_killed(run_id: str) -> None:
    """Write down of a run, and of those within it, that they were killed, if they still run."""
    client = mlflow.MlflowClient()
    with reachable_store():
        try:
            killed = client.get_run(run_id)
        except MlflowException:
            return  # of another store, or deleted
        within = client.search_runs(
            [killed.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
        )
        for one in (killed, *within):
            if one.info.status == "RUNNING":
                client.set_terminated(one.info.run_id, "KILLED")


def tag_run(run_id: str, values: Mapping[str, str]) -> None:
    """Add tags to a run that has ended."""
    client = mlflow.MlflowClient()
    with reachable_store():
        for name, value in values.items():
            client.set_tag(run_id, name, value)

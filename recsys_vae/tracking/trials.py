"""MLflow runs of a search: one for each trial, under the run of the search."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import mlflow
from mlflow.entities import Run

from recsys_vae import __version__
from recsys_vae.tracking.runs import TAG_STEP, StepRun, quiet, reachable_store

TAG_STUDY: Final = "recsys_vae.study"
_PARENT: Final = "mlflow.parentRunId"
_RECORD: Final = "recsys_vae.trial.record"
End = Literal["FINISHED", "KILLED", "FAILED"]


class TrialRun(StepRun):
    """The run of one trial; also says how it ended."""

    end: End = "FINISHED"

    def remember(self, record: Mapping[str, Any]) -> None:
        """Write down what `trial_records` gives again, in place of what was written before."""
        self.tags({_RECORD: json.dumps(record)})


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """What the run of a trial says of it.

    Attributes:
        run_id: of the run.
        record: what was last written down.
        epochs: the validation metric by epoch.
        begun: when, in local time.
        ended: when; None: it has not, or its process died.
    """

    run_id: str
    record: dict[str, Any]
    epochs: dict[int, float]
    begun: datetime
    ended: datetime | None


@contextmanager
def trial_run(parent: str, study: str, name: str) -> Iterator[TrialRun]:
    """Run a trial inside an MLflow run of its own.

    Args:
        parent: id of the search's run, which another process may have begun.
        study: the study's name.
        name: the run's.

    Yields:
        What the trial logs to; its `end` becomes the run's status.
    """
    quiet()
    with reachable_store():
        experiment = mlflow.get_run(parent).info.experiment_id
        started = mlflow.start_run(
            experiment_id=experiment, run_name=name, nested=True, parent_run_id=parent
        )
    run = TrialRun(started)
    run.tags({TAG_STEP: "trial", TAG_STUDY: study, "recsys_vae.version": __version__})
    try:
        yield run
        run.flush()
    except BaseException:
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run(run.end)


def trial_records(parent: str, study: str) -> list[TrialRecord]:
    """Give what the runs of a search's trials say, of all searches of that name.

    Args:
        parent: id of a run in the same experiment.
        study: the study's name.
    """
    with reachable_store():
        client = mlflow.MlflowClient()
        experiment = client.get_run(parent).info.experiment_id
        records = list[TrialRecord]()
        for one in _runs(client, experiment, study):
            written = one.data.tags.get(_RECORD)
            if written is None:
                continue
            run_id, ended = one.info.run_id, one.info.end_time
            history = client.get_metric_history(run_id, "validation")
            records.append(
                TrialRecord(
                    run_id,
                    json.loads(written),
                    {point.step: point.value for point in history},
                    datetime.fromtimestamp(one.info.start_time / 1000),
                    None if ended is None else datetime.fromtimestamp(ended / 1000),
                )
            )
        return records


def adopt_trials(parent: str, study: str) -> None:
    """Put the trials of a search that was interrupted under the run that goes on with it.

    Runs whose process is gone are ended.
    """
    with reachable_store():
        client = mlflow.MlflowClient()
        experiment = client.get_run(parent).info.experiment_id
        for one in _runs(client, experiment, study):
            if one.info.run_id == parent:
                continue
            if one.info.status == "RUNNING":
                client.set_terminated(one.info.run_id, "KILLED")
            if one.data.tags.get(TAG_STEP) == "trial":
                client.set_tag(one.info.run_id, _PARENT, parent)
        client.set_tag(parent, TAG_STUDY, study)


def _runs(client: mlflow.MlflowClient, experiment: str, study: str) -> list[Run]:
    found, page = list[Run](), None
    while True:
        some = client.search_runs([experiment], f"tags.`{TAG_STUDY}` = '{study}'", page_token=page)
        found += some
        page = some.token
        if not page:
            return found

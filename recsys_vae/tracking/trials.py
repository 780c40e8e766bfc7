"""MLflow runs of a search: one for each trial, under the run of the search."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import mlflow

from recsys_vae import __version__
from recsys_vae.tracking.runs import TAG_STEP, StepRun, quiet, reachable_store

TAG_STUDY: Final = "recsys_vae.study"
_PARENT: Final = "mlflow.parentRunId"
End = Literal["FINISHED", "KILLED", "FAILED"]


class TrialRun(StepRun):
    """The run of one trial; also says how it ended."""

    end: End = "FINISHED"


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
    except BaseException:
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run(run.end)


def adopt_trials(parent: str, study: str) -> None:
    """Put the trials of a search that was interrupted under the run that goes on with it.

    Runs whose process is gone are ended.
    """
    with reachable_store():
        client = mlflow.MlflowClient()
        experiment = client.get_run(parent).info.experiment_id
        tagged = f"tags.`{TAG_STUDY}` = '{study}'"
        page: str | None = None
        while True:
            found = client.search_runs([experiment], tagged, page_token=page)
            for one in found:
                if one.info.run_id == parent:
                    continue
                if one.info.status == "RUNNING":
                    client.set_terminated(one.info.run_id, "KILLED")
                if one.data.tags.get(TAG_STEP) == "trial":
                    client.set_tag(one.info.run_id, _PARENT, parent)
            page = found.token
            if not page:
                break
        client.set_tag(parent, TAG_STUDY, study)

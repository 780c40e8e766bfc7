"""What runs have written down to be rebuilt from."""

import re
from typing import Any, Final

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys_vae.errors import InputError, reason
from recsys_vae.tracking.runs import TAG_STEP, quiet, reachable_store

_RUN_ID: Final = re.compile("[0-9a-f]{32}")
_STEPS: Final = ("train", "evaluate")


def read_notes(reference: str, file: str) -> list[tuple[str, dict[str, Any]]]:
    """Read the notes of a run of `train` or `evaluate`, or of those within a run of `main`.

    Args:
        reference: the run's id, or "runs:/" and it.
        file: the name of the notes.

    Returns:
        Each run's id and its notes, in the order in which they ran.

    Raises:
        InputError: there is no such run, or it or one within it has written down nothing.
    """
    run_id = reference.removeprefix("runs:/")
    if not _RUN_ID.fullmatch(run_id):
        raise InputError(
            f"{reference} is no id of an MLflow run (32 digits and letters): copy it from the "
            "run's page"
        )
    quiet()
    with reachable_store():
        client = mlflow.MlflowClient()
        try:
            found = client.get_run(run_id)
        except MlflowException as error:
            raise InputError(
                f"there is no MLflow run {run_id} ({reason(error)}): check the id and "
                "MLFLOW_TRACKING_URI"
            ) from error
        runs = [found]
        if found.data.tags.get(TAG_STEP) not in _STEPS:
            within = client.search_runs(
                [found.info.experiment_id],
                f"tags.`mlflow.parentRunId` = '{run_id}'",
                order_by=["attributes.start_time ASC"],
            )
            runs = [one for one in within if one.data.tags.get(TAG_STEP) in _STEPS]
    if not runs:
        raise InputError(
            f"MLflow run {run_id} has neither trained nor evaluated a model: name a run of "
            "'train', 'evaluate' or 'main'"
        )
    return [(one.info.run_id, _notes(one.info.run_id, file)) for one in runs]


def _notes(run_id: str, file: str) -> dict[str, Any]:
    try:
        notes = mlflow.artifacts.load_dict(f"runs:/{run_id}/{file}")
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        raise InputError(
            f"MLflow run {run_id} has no {file} ({reason(error)}): it was not finished, or its "
            "artifacts are gone; name another run"
        ) from error
    return dict(notes)

"""What runs have written down to be rebuilt from."""

from typing import Any, Final

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys_vae.errors import InputError, reason
from recsys_vae.tracking.steps_within import run_id_of, steps_within

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
    run_id = run_id_of(reference)
    if run_id is None:
        raise InputError(
            f"{reference} is no id of an MLflow run (32 digits and letters): copy it from the "
            "run's page"
        )
    runs = steps_within(run_id, _STEPS)
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

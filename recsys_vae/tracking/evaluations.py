"""Evaluations in MLflow: where `evaluate` has left them."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys_vae.errors import InputError, reason
from recsys_vae.tracking.downloads import downloaded
from recsys_vae.tracking.runs import metric_name, reachable_store
from recsys_vae.tracking.steps_within import run_id_of, steps_within

ARTIFACT: Final = "evaluation"
_JUDGING: Final = ("evaluate", "leaderboard")


def tell_model(uri: str, values: Mapping[str, float]) -> None:
    """Log metrics of a model where it was trained, so that trainings can be compared by them.

    MLflow's page of the model shows them as well.

    Args:
        uri: from `log_model`.
        values: by name, such as "test_recall@20".
    """
    client, model_id = mlflow.MlflowClient(), uri.removeprefix("models:/")
    now = int(time.time() * 1000)
    with reachable_store():
        logged = client.get_logged_model(model_id)
        found = [
            Metric(metric_name(name), value, now, 0, model_id=model_id, run_id=logged.source_run_id)
            for name, value in values.items()
        ]
        client.log_batch(logged.source_run_id, metrics=found)


def evaluation_folders(reference: str) -> list[Path]:
    """Find the folders of what was evaluated.

    Args:
        reference: a folder; the id of a run of `evaluate` or `leaderboard`; or of a run that holds
            one, such as `main`'s.

    Returns:
        The folders; of runs, local copies.

    Raises:
        InputError: it is neither, or the run evaluated nothing.
    """
    if Path(reference).is_dir():
        return [Path(reference)]
    run_id = run_id_of(reference)
    if run_id is None:
        raise InputError(
            f"{reference} is neither a folder that 'recsys-vae evaluate' wrote nor the id of an "
            "MLflow run (32 digits and letters): name one of them"
        )
    steps = steps_within(run_id, _JUDGING)
    if not steps:
        raise InputError(
            f"MLflow run {run_id} evaluated nothing: name a run of 'evaluate', 'leaderboard' or "
            "'main'"
        )
    try:
        return [downloaded(f"runs:/{one.info.run_id}/{ARTIFACT}") for one in steps]
    except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
        raise InputError(
            f"the evaluation of MLflow run {run_id} cannot be read ({reason(error)}): evaluate "
            "again"
        ) from error

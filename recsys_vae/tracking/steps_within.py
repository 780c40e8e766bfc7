"""The runs of steps that a run stands for: itself, or those of `main`'s steps."""

import re
from collections.abc import Collection
from typing import Any, Final

import mlflow
from mlflow.exceptions import MlflowException

from recsys_vae.errors import InputError, reason
from recsys_vae.tracking.runs import STEP_RUN, TAG_STEP, quiet, reachable_store

_RUN_ID: Final = re.compile("[0-9a-f]{32}")


def run_id_of(reference: str) -> str | None:
    """Read the id of a run, with or without "runs:/" before it; None: it is none.

    >>> run_id_of("runs:/" + 32 * "a") == 32 * "a", run_id_of("outputs/evaluation")
    (True, None)
    """
    run_id = reference.removeprefix("runs:/")
    return run_id if _RUN_ID.fullmatch(run_id) else None


def steps_within(run_id: str, steps: Collection[str]) -> list[Any]:
    """Find the runs of some steps.

    Args:
        run_id: of a run of such a step, or of a run that holds or reuses some, such as `main`'s.
        steps: such as "train".

    Returns:
        MLflow's runs, in the order in which they began.

    Raises:
        InputError: there is no such run, or one that it reuses is gone.
    """
    quiet()
    with reachable_store():
        client = mlflow.MlflowClient()
        found = _run(client, run_id)
        if found.data.tags.get(TAG_STEP) in steps:
            return [found]
        within = client.search_runs(
            [found.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
        )
        known = {one.info.run_id: one for one in within}
        for name, one in found.data.tags.items():
            if name.startswith(STEP_RUN) and one not in known:  # a step that was done before
                known[one] = _run(client, one)
    wanted = [one for one in known.values() if one.data.tags.get(TAG_STEP) in steps]
    return sorted(wanted, key=lambda one: one.info.start_time)


def _run(client: mlflow.MlflowClient, run_id: str) -> Any:
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise InputError(
            f"there is no MLflow run {run_id} ({reason(error)}): check the id and "
            "MLFLOW_TRACKING_URI"
        ) from error

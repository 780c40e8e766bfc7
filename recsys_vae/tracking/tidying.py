"""Old models that MLflow keeps and that nobody needs: marked as deleted."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from recsys_vae.tracking.runs import TAG_STEP, quiet, reachable_store, tracking_uri
from recsys_vae.tracking.standing import alone_with_the_aliases

_DAY: Final = 86_400_000
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was marked as deleted, or would have been.

    Attributes:
        models: how many.
        versions: of registered models, that were taken out of the registry with them.
        kept: models that are younger, or that an alias needs.
        bytes: of the models' files, so far as they lie on this machine.
        store: where MLflow keeps what it tracks.
    """

    models: int
    versions: int
    kept: int
    bytes: int
    store: str


def tidy(older_than: float, *, dry_run: bool = False) -> Tidied:
    """Mark models as deleted that are old and that no alias of the registry needs.

    Models of other programs, and runs with their metrics, stay. Until `mlflow gc` takes them away
    for good, the models are still there.

    Args:
        older_than: days since a model was logged.
        dry_run: count, but change nothing.

    Returns:
        How much it is.

    Raises:
        InputError: the store cannot be reached.
    """
    quiet()
    before = int(time.time() * 1000 - older_than * _DAY)
    with reachable_store(), alone_with_the_aliases():
        client = mlflow.MlflowClient()
        needed, free = _versions(client)
        old, kept = list[LoggedModel](), 0
        for model in _own_models(client):
            if model.creation_timestamp < before and not needed & _names(model):
                old.append(model)
            else:
                kept += 1
        gone = {name for model in old for name in _names(model)}
        versions = [one for one in free if _source(one) in gone]
        size = sum(map(_size, old))
        if not dry_run:
            # In this order no version is ever left without its model, wherever it is cut off.
            for version in versions:
                client.delete_model_version(version.name, str(version.version))
            for model in old:
                client.delete_logged_model(model.model_id)
        return Tidied(len(old), len(versions), kept, size, tracking_uri())


def _versions(client: mlflow.MlflowClient) -> tuple[set[str], list[ModelVersion]]:
    """Give what versions with an alias were made of, and the versions without one."""
    needed, free = set[str](), list[ModelVersion]()
    for registered in _pages(client.search_registered_models):
        aliased = {
            str(one) for one in client.get_registered_model(registered.name).aliases.values()
        }
        quoted = registered.name.replace("'", "''")
        for version in _pages(client.search_model_versions, f"name = '{quoted}'"):
            if str(version.version) in aliased:
                needed.add(_source(version))
            else:
                free.append(version)
    return needed, free


def _own_models(client: mlflow.MlflowClient) -> Iterator[LoggedModel]:
    """Give the models that runs of this package have logged."""
    experiments = [one.experiment_id for one in _pages(client.search_experiments)]
    ours = dict[str, bool]()
    token = None
    while experiments:
        page = client.search_logged_models(experiments, max_results=_PAGE, page_token=token)
        for model in page:
            run_id = model.source_run_id
            if run_id and run_id not in ours:
                ours[run_id] = _is_ours(client, run_id)
            if run_id and ours[run_id]:
                yield model
        token = page.token
        if not token:
            break


def _is_ours(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        return TAG_STEP in client.get_run(run_id).data.tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False  # somebody has deleted the run: the model may be somebody's, too


def _pages(search: Any, *arguments: str) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _names(model: LoggedModel) -> set[str]:
    """Give by what a version of the registry may name the model as its source."""
    return {f"models:/{model.model_id}", f"runs:/{model.source_run_id}/{model.name}"}


def _source(version: ModelVersion) -> str:
    return str(version.source)


def _size(model: LoggedModel) -> int:
    where = urlsplit(model.artifact_location)
    if where.scheme not in ("", "file"):
        return 0
    folder = Path(url2pathname(where.path))
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())

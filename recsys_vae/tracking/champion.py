"""Who serves: the aliases `champion`, `challenger` and `previous` of a registered model."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException

from recsys_vae.errors import InputError
from recsys_vae.tracking.registry import CHALLENGER
from recsys_vae.tracking.runs import quiet, reachable_store, tracking_uri

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
_PATIENCE_S: Final = 120


def version_called(name: str, alias: str) -> str | None:
    """Give the version that an alias of a registered model points at; None: there is none.

    Raises:
        InputError: the store cannot be used, or there is no such registered model.
    """
    quiet()
    with reachable_store():
        client = mlflow.MlflowClient()
        try:
            found = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"MLflow's registry has no model '{name}': train one with --register {name}, or "
                "check --name and MLFLOW_TRACKING_URI"
            ) from error
    version = dict(found.aliases).get(alias)
    return None if version is None else str(version)


def crown(name: str, version: str, *, instead_of: str | None) -> None:
    """Call a version champion, and the champion until now previous.

    Args:
        name: of the registered model.
        version: that is to serve.
        instead_of: the champion that it was compared with; None: there was none.

    Raises:
        InputError: another version became champion meanwhile; nothing is changed then.
    """
    with _alone():
        now = version_called(name, CHAMPION)
        if now != instead_of:
            raise InputError(
                f"version {now} of '{name}' became champion while {version} was compared with "
                f"{instead_of or 'none'}: promote again, to compare with it"
            )
        client = mlflow.MlflowClient()
        with reachable_store():
            # In this order a promotion that is killed leaves a champion, and one to go back to.
            if now is not None:
                client.set_registered_model_alias(name, PREVIOUS, now)
            client.set_registered_model_alias(name, CHAMPION, version)


def roll_back(name: str) -> tuple[str, str]:
    """Let the previous champion serve again.

    Returns:
        The version that served until now, and the one that serves from now on.

    Raises:
        InputError: there is none to go back to.
    """
    with _alone():
        now, before = version_called(name, CHAMPION), version_called(name, PREVIOUS)
        if now is None or before is None:
            raise InputError(
                f"'{name}' has no previous champion to go back to: name a version with "
                "'mlflow' itself, or promote one"
            )
        client = mlflow.MlflowClient()
        with reachable_store():
            client.set_registered_model_alias(name, CHAMPION, before)
            client.delete_registered_model_alias(name, PREVIOUS)
    return now, before


def challenger(name: str) -> str:
    """Give the version that wants to serve.

    Raises:
        InputError: there is none.
    """
    found = version_called(name, CHALLENGER)
    if found is None:
        raise InputError(
            f"'{name}' has no challenger: train a model with --register {name}, which makes it one"
        )
    return found


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time change who serves, where the store is a file on this machine."""
    path = tracking_uri().partition("?")[0].removeprefix("sqlite:///")
    if not tracking_uri().startswith("sqlite:///") or not Path(path).parent.is_dir():
        yield
        return
    try:
        with FileLock(f"{path}.champion.lock", timeout=_PATIENCE_S):
            yield
    except Timeout as error:
        raise InputError(
            f"another promotion has held {path}.champion.lock for {_PATIENCE_S} s: wait for it"
        ) from error

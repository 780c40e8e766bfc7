"""Who is champion in MLflow's registry, and how that changes: one process at a time."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Final

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from recsys_vae.errors import InputError, reason
from recsys_vae.tracking.registry import CHALLENGER
from recsys_vae.tracking.runs import quiet, reachable_store

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
TAG_VERDICT: Final = "recsys_vae.verdict"
TAG_REASON: Final = "recsys_vae.reason"
TAG_RUN: Final = "recsys_vae.promotion"
ROLLED_BACK: Final = "rolled back"
_PATIENCE: Final = 120


class OvertakenError(RuntimeError):
    """Another process has changed who is champion.

    Attributes:
        champion: version that is it now, or None.
    """

    def __init__(self, champion: str | None) -> None:
        """Name the version."""
        self.champion = champion
        super().__init__(f"version {champion or 'none'} has become champion meanwhile")


@dataclass(frozen=True, slots=True)
class Standing:
    """The versions that a registered model's aliases point at; None: there is none.

    Attributes:
        name: of the registered model.
        challenger: what was registered last.
        champion: what is in use.
        previous: what a rollback goes back to.
    """

    name: str
    challenger: str | None
    champion: str | None
    previous: str | None


def standing(name: str) -> Standing:
    """Read the aliases of a registered model.

    Raises:
        InputError: there is no such model, or the registry cannot be reached.
    """
    quiet()
    with reachable_store():
        try:
            found = mlflow.MlflowClient().get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"MLflow has no registered model '{name}' ({reason(error)}): register one with "
                f"'recsys-vae train --register {name}', or check MLFLOW_TRACKING_URI"
            ) from error
    # A database gives numbers, a server text.
    aliases = {alias: str(version) for alias, version in found.items()}
    champion = aliases.get(CHAMPION)
    previous = aliases.get(PREVIOUS)
    # Whoever was stopped between the two aliases has left both at one version.
    return Standing(
        name, aliases.get(CHALLENGER), champion, None if previous == champion else previous
    )


def was_rolled_back(name: str, version: str) -> bool:
    """Say whether a version was champion and had to go."""
    with reachable_store():
        tags: Mapping[str, str] = mlflow.MlflowClient().get_model_version(name, version).tags
    return tags.get(TAG_VERDICT) == ROLLED_BACK


def note(name: str, version: str, verdict: str, why: str, run_id: str) -> None:
    """Write on a version what was decided of it, why, and in which run."""
    with reachable_store():
        client = mlflow.MlflowClient()
        for key, value in ((TAG_VERDICT, verdict), (TAG_REASON, why), (TAG_RUN, run_id)):
            client.set_model_version_tag(name, version, key, value)


def make_champion(before: Standing, version: str) -> None:
    """Make a version champion, unless somebody else has changed the champion meanwhile.

    Args:
        before: the standing that the decision rests on.
        version: the new champion.

    Raises:
        OvertakenError: the champion is not the one of `before` any more.
        InputError: the registry cannot be reached, or is kept busy by another process.
    """
    with alone_with_the_aliases(), reachable_store():
        now = standing(before.name)
        if now.champion != before.champion:
            raise OvertakenError(now.champion)
        client = mlflow.MlflowClient()
        # In this order a rollback never leads to the wrong version, wherever it is cut off.
        if now.champion is not None:
            client.set_registered_model_alias(before.name, PREVIOUS, now.champion)
        client.set_registered_model_alias(before.name, CHAMPION, version)


def roll_back(name: str) -> Standing:
    """Make the previous champion champion again.

    Returns:
        The standing before.

    Raises:
        InputError: there is no previous champion, or the registry cannot be reached.
    """
    with alone_with_the_aliases(), reachable_store():
        now = standing(name)
        if now.champion is None or now.previous is None:
            raise InputError(
                f"'{name}' has no previous champion to go back to: set the alias yourself, with "
                f"MLflow's client or in its UI"
            )
        client = mlflow.MlflowClient()
        client.set_registered_model_alias(name, CHAMPION, now.previous)
        client.delete_registered_model_alias(name, PREVIOUS)
        return now


@contextmanager
def alone_with_the_aliases() -> Iterator[None]:
    """Let one process of this machine at a time read the aliases and change them.

    Raises:
        InputError: another one has kept the others out for two minutes.
    """
    uri = str(mlflow.get_registry_uri())
    path = Path(uri.partition("?")[0].removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.parent.is_dir():
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        path = Path(gettempdir()) / f"recsys-vae-{digest}"
    try:
        with FileLock(f"{path}.lock", timeout=_PATIENCE):
            yield
    except TimeoutError as error:
        raise InputError(
            f"another process has kept {path}.lock for {_PATIENCE} s: wait for it, and try again"
        ) from error

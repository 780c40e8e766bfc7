"""Copies of what lies in a remote artifact store, which are gone when the process ends."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import mlflow


def downloaded(uri: str) -> Path:
    """Give the files of an artifact: in place where the store is a disk, else a copy.

    MLflow itself never removes its copies.

    Args:
        uri: of the artifact.

    Raises:
        MlflowException: and whatever else the store raises.
    """
    with _temporary_files_in(_scratch()):
        return Path(mlflow.artifacts.download_artifacts(uri))


@lru_cache(maxsize=1)
def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="recsys-vae-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    before = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before

"""Files and folders that appear under their final name only when they are complete."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from recsys_vae.errors import InputError, reason


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, role: str) -> Path:
    return path.parent / f".{path.name}.{role}-{os.getpid()}-{uuid4().hex[:6]}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block succeeds.

    Args:
        path: final name; an existing file is replaced.

    Yields:
        The path to write to. It is removed if the block raises.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_file(target) as temporary:
    ...     _ = temporary.write_text("whole")
    ...     target.exists()
    False
    >>> target.read_text()
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "partial")
    # The suffix stands at the end too: writers that choose a format by suffix still see it.
    temporary = temporary.with_name(temporary.name + path.suffix)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; move it there if the block succeeds.

    Args:
        path: final name; an existing folder of that name is replaced as a whole.

    Yields:
        The folder to write into. It is removed if the block raises.

    Raises:
        InputError: `path` is a file.
    """
    if path.is_file():
        raise InputError(f"{path} is a file where a folder is to be written: choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _beside(path, "partial"), _beside(path, "old")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as readable JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path, *, what: str, remedy: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        what: what the file should be, for the error sentence.
        remedy: what to do when it is absent or damaged.

    Returns:
        The object.

    Raises:
        InputError: the file is absent, unreadable or not a JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} is not {what} (there is no {path.name} in it): {remedy}")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({reason(error)}): {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged (it holds no JSON object): {remedy}")
    return content

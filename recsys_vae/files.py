"""Files and folders that appear under their final name only when they are complete."""

import errno
import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from recsys_vae.errors import InputError, reason

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error for want of space, which says nothing of where, name what was being written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


_OURS: set[str] = set()
"""What this process has named: another that was killed may have had its number."""


def _beside(path: Path, role: str) -> Path:
    mark = f"{os.getpid()}-{uuid4().hex[:6]}"
    _OURS.add(mark)
    return path.parent / f".{path.name}.{role}-{mark}"


def _is_in_use(pid: str, mark: str) -> bool:
    if int(pid) == os.getpid():
        return f"{pid}-{mark}" in _OURS
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def tidy(path: Path) -> None:
    """Clear what processes that were killed while writing `path` have left beside it.

    What was moved away to make room for a folder that then never came is put back.
    """
    for left in sorted(path.parent.glob(f".{glob.escape(path.name)}.*-*-*")):
        name = left.name[len(path.name) + 2 :]
        found = re.fullmatch(r"(partial|old)-(\d+)-([0-9a-f]{6}).*", name)
        if found is None or _is_in_use(found[2], found[3]):
            continue
        if found[1] == "old" and not path.exists():
            left.replace(path)
        elif left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _real(path: Path) -> Path:
    """Follow links, so that a link stays one and what it points to is written."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be followed ({reason(error)}): mend the link") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block succeeds.

    Args:
        path: final name; an existing file is replaced.

    Yields:
        The path to write to. It is removed if the block raises.

    Raises:
        InputError: `path` is a folder, a device or the like.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with atomic_file(target) as temporary:
    ...     _ = temporary.write_text("whole")
    ...     target.exists()
    False
    >>> target.read_text()
    'whole'
    """
    path = _real(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no file that could be replaced: choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path)
    temporary = _beside(path, "partial")
    # The suffix stands at the end too: writers that choose a format by suffix still see it.
    temporary = temporary.with_name(temporary.name + path.suffix)
    try:
        with _named(path):
            yield temporary
            _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_loss(out: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse to replace a folder by something that is made from what lies in it.

    Args:
        out: a folder that is to be replaced.
        inputs: files and folders that are read; None is none.

    Raises:
        InputError: one of them is the folder, or lies in it.
    """
    for one in inputs:
        if one is not None and _real(one).is_relative_to(_real(out)):
            raise InputError(
                f"--out would replace {out}, and {one} in it would be lost: choose another --out"
            )


def check_replaceable(path: Path, contents: Sequence[str], proof: Sequence[str] = ()) -> None:
    """Refuse a folder that would lose something if a new one took its place.

    Args:
        path: where a folder is to be written.
        contents: names (with wildcards) that a folder of this kind may hold.
        proof: names of which it has one if it is of this kind and not empty; none: it may have any.

    Raises:
        InputError: `path` is a file, or a folder that holds anything else.
    """
    path = _real(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path} is no folder but a folder is to be written: choose another --out")
    foreign = [
        file.name
        for file in sorted(path.iterdir())
        if not any(fnmatch(file.name, pattern) for pattern in contents)
    ]
    if foreign:
        raise InputError(
            f"{path} holds {foreign[0]!r}, which is no part of what is to be written there: choose "
            "another --out, or empty the folder"
        )
    names = sorted(file.name for file in path.iterdir())
    if proof and names and not set(proof) & set(names):
        raise InputError(
            f"{path} holds {names[0]!r} but no {proof[0]}, so that it is no earlier result: choose "
            "another --out, or empty the folder"
        )


@contextmanager
def atomic_folder(path: Path, contents: Sequence[str]) -> Iterator[Path]:
    """Give a temporary folder beside `path`; move it there if the block succeeds.

    Args:
        path: final name; an existing folder of the same kind is replaced as a whole.
        contents: names (with wildcards) that a folder of this kind may hold; one that holds
            anything else is not touched.

    Yields:
        The folder to write into. It is removed if the block raises.

    Raises:
        InputError: `path` is a file, or a folder that holds something else.
    """
    check_replaceable(path, contents)
    path = _real(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path)
    temporary = _beside(path, "partial")
    temporary.mkdir()
    try:
        with _named(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
        replace_folder(temporary, path, contents)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(temporary: Path, path: Path, contents: Sequence[str]) -> None:
    """Move a complete folder to its final name, in the place of one that may be there.

    Args:
        temporary: complete, and beside `path`.
        path: final name.
        contents: names (with wildcards) that a folder of this kind may hold.

    Raises:
        InputError: `path` is a file, or a folder that holds something else.
    """
    path, old = _real(path), _beside(_real(path), "old")
    if path.exists():
        check_replaceable(path, contents)
        path.replace(old)
    try:
        temporary.replace(path)
    except OSError:
        if old.exists():
            old.replace(path)
        raise
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


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

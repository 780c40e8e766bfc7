"""One process a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recsys_vae.errors import InputError
from recsys_vae.training.distributed import leads_here

LOCK = ".lock"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from working in the same folder at the same time.

    Raises:
        InputError: another one does.
    """
    if not leads_here():
        yield
        return
    try:
        lock = FileLock(out / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another process is working in {out}: wait for it, or give another --out"
        ) from error
    try:
        yield
    finally:
        lock.release()

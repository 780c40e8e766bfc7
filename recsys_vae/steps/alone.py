"""One process a folder, or whatever else must not be changed by two."""

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
    remedy = f"another process is working in {out}: wait for it, or give another --out"
    with alone_at(out / LOCK, remedy):
        yield


@contextmanager
def alone_making(out: Path) -> Iterator[None]:
    """Keep other processes from making the same folder, which need not exist, at the same time.

    The lock lies beside the folder, hidden, for as long as it is made.

    Raises:
        InputError: another one does.
    """
    if not leads_here():
        yield
        return
    out = out.resolve()
    lock = out.with_name(f".{out.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    remedy = f"another process is making {out}: wait for it, or give another --out"
    with alone_at(lock, remedy):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def alone_at(path: Path, sentence: str) -> Iterator[None]:
    """Keep other processes from what a file stands for.

    Args:
        path: the file, which stays.
        sentence: what to say where another process is there.

    Raises:
        InputError: another one is.
    """
    if not leads_here():
        yield
        return
    try:
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(sentence) from error
    try:
        yield
    finally:
        lock.release()

"""Tasks side by side, results in order, few of them in memory at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from joblib import cpu_count

T = TypeVar("T")


def n_workers() -> int:
    """Count the cores that this process may use, within the quota of its container."""
    return int(cpu_count())


def in_order(tasks: Iterable[Callable[[], T]], *, workers: int | None = None) -> Iterator[T]:
    """Do tasks in threads and give their results in the order of the tasks.

    Args:
        tasks: independent of each other; drawn from the iterable as there is room.
        workers: threads; None: one for each core.

    Yields:
        The results; at most two a worker wait at a time.

    >>> list(in_order([lambda: 1, lambda: 2]))
    [1, 2]
    """
    workers = workers or n_workers()
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ingest")
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            while len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

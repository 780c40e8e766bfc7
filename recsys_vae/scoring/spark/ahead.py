"""What is done while the driver prepares."""

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")


def waker(session: "SparkSession") -> Callable[[], None]:
    """Give what has a row pass through Python, so that workers start while the driver prepares.

    Only on the driver's own machine. What fails there fails again in the job, which tells it.
    """
    if not str(session.sparkContext.master).startswith("local"):
        return lambda: None
    from pyspark.sql.pandas import functions as pandas_functions

    functions: Any = pandas_functions
    # Here, since filters of warnings are no matter for threads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of pandas versions that we test
        same = functions.pandas_udf(lambda one: one, "bigint")
        row = session.range(1, numPartitions=1).select(same("id"))

    def wake() -> None:
        with suppress(Exception):
            row.collect()

    return wake


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads that act for the one that begins something in them.

    Attributes:
        session: whose properties they have.
        pool: of threads.
    """

    session: "SparkSession"
    pool: ThreadPoolExecutor

    def begin(self, action: Callable[[], T]) -> "Future[T]":
        """Do something in one of the threads; its jobs are in the job group of this one."""
        from pyspark import inheritable_thread_target

        inheriting: Any = inheritable_thread_target
        future: Future[T] = self.pool.submit(inheriting(self.session)(action))
        return future


@contextmanager
def threads(session: "SparkSession", number: int) -> Iterator[Threads]:
    """Give threads; where the block fails they are not waited for, so that a session can stop."""
    pool = ThreadPoolExecutor(number, "ahead")
    try:
        yield Threads(session, pool)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()

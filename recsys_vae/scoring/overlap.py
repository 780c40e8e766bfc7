"""Reading, scoring and writing at the same time, few blocks in memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

import torch
from threadpoolctl import threadpool_limits

T = TypeVar("T")
U = TypeVar("U")
_AHEAD: Final = 4
_END: Final = object()
_SIDES: Final = 4
"""Threads that make something at the same time, at most: each holds its own scores."""


def read_ahead(source: Iterator[T]) -> Iterator[T]:
    """Give what an iterator gives, drawn in another thread a few steps ahead.

    >>> list(read_ahead(iter([1, 2, 3])))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:
        waiting: deque[Future[object]] = deque()
        try:
            while True:
                while len(waiting) < _AHEAD:
                    waiting.append(pool.submit(next, source, _END))
                drawn = waiting.popleft().result()
                if drawn is _END:
                    return
                yield drawn  # type: ignore[misc] # whatever is not the end is the source's
        finally:
            pool.shutdown(cancel_futures=True)


class Behind:
    """Does things in order in another thread, a few steps behind.

    >>> with Behind() as behind:
    ...     behind.do(lambda: print("done"))
    done
    """

    def __enter__(self) -> "Behind":
        """Start the thread."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._waiting: deque[Future[None]] = deque()
        return self

    def do(self, action: Callable[[], None]) -> None:
        """Put something at the end of the row; raise what an earlier one raised."""
        self._waiting.append(self._pool.submit(action))
        while len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()

    def catch_up(self) -> None:
        """Wait for everything; raise what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """Wait for everything, or drop what has not begun where the block failed."""
        try:
            if kind is None:
                self.catch_up()
        finally:
            self._pool.shutdown(cancel_futures=True)


class SideBySide:
    """Makes things of others in several threads, and gives them in the order of those others.

    The threads share those that torch would use for one operation: operations that each take a
    whole thread wait for nobody, neither for other threads of theirs nor for what is not torch's.
    BLAS has one thread in each. On leaving, torch and BLAS have their threads back.

    >>> with SideBySide() as sides:
    ...     list(sides.make(abs, iter([-1, 2])))
    [(-1, 1), (2, 2)]
    """

    def __enter__(self) -> Self:
        """Start the threads."""
        self._usual = torch.get_num_threads()
        self._sides = max(1, min(_SIDES, self._usual))
        share = self._usual // self._sides
        # Who sets that in a thread would else set it for the others, and give back what they set.
        self._blas = threadpool_limits(1, "blas")
        set_threads = partial(torch.set_num_threads, share)
        self._pool = ThreadPoolExecutor(self._sides, "make", initializer=set_threads)
        return self

    def make(self, how: Callable[[T], U], source: Iterator[T]) -> Iterator[tuple[T, U]]:
        """Give each thing that comes from the source, and what is made of it.

        Args:
            how: may be called in any thread, and in several at once.
            source: is read in this one, a few steps ahead.

        Raises:
            Exception: what `how` or the source did, in the turn of the thing for which they did.
        """
        waiting: deque[tuple[T, Future[U]]] = deque()
        failed: Exception | None = None
        while failed is None:
            try:
                one = next(source)
            except StopIteration:
                break
            except Exception as error:  # whatever it is, its turn comes
                failed = error
            else:
                waiting.append((one, self._pool.submit(how, one)))
                if len(waiting) > self._sides:
                    first, made = waiting.popleft()
                    yield first, made.result()
        for first, made in waiting:
            yield first, made.result()
        if failed is not None:
            raise failed

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        """Stop the threads; what has not begun is dropped."""
        try:
            self._pool.shutdown(cancel_futures=True)
        finally:
            self._blas.restore_original_limits()
            torch.set_num_threads(self._usual)

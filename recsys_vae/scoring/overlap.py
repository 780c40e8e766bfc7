"""Reading, scoring and writing at the same time, few blocks in memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
_AHEAD: Final = 4
_END: Final = object()


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

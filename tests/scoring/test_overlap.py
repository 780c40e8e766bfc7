"""Work in other threads comes back in order, and so do torch's threads."""

import threading
from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from recsys_vae.scoring.overlap import SideBySide


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch have two threads, however many it had."""
    usual = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("two_threads")
def test_two_things_are_made_at_once_each_in_its_own_thread() -> None:
    both = threading.Barrier(2, timeout=30)

    def meet(number: int) -> tuple[int, int]:
        both.wait()
        return number, torch.get_num_threads()

    with SideBySide() as sides:
        made = list(sides.make(meet, iter(range(6))))
    assert made == [(number, (number, 1)) for number in range(6)]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_first_error_is_raised_in_its_turn_and_threads_are_given_back() -> None:
    def make(number: int) -> int:
        if number >= 2:
            raise ValueError(str(number))
        return number

    seen = list[int]()
    with pytest.raises(ValueError, match="2"), SideBySide() as sides:
        seen.extend(made for _, made in sides.make(make, iter(range(9))))
    assert seen == [0, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_an_error_of_the_source_waits_for_its_turn() -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        raise KeyError(3)

    def make(number: int) -> int:
        if number == later:
            raise ValueError(str(number))
        return number

    seen = list[int]()
    later = 9
    with pytest.raises(KeyError, match="3"), SideBySide() as sides:
        seen.extend(made for _, made in sides.make(make, source()))
    assert seen == [0, 1, 2]
    later = 2
    with pytest.raises(ValueError, match="2"), SideBySide() as sides:
        seen.extend(made for _, made in sides.make(make, source()))
    assert seen == [0, 1, 2, 0, 1]


def _blas_threads() -> list[int]:
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


@pytest.mark.usefixtures("two_threads")
def test_what_sets_blas_threads_in_a_thread_leaves_none_changed() -> None:
    turns = threading.Barrier(2, timeout=30)

    def limited(_number: int) -> list[int]:
        with threadpool_limits(1, "blas"):
            turns.wait()
        return _blas_threads()

    before = _blas_threads()
    assert before  # numpy has one
    with SideBySide() as sides:
        made = [one for _, one in sides.make(limited, iter(range(8)))]
    assert all(threads == 1 for one in made for threads in one)
    assert _blas_threads() == before


@pytest.mark.usefixtures("two_threads")
def test_the_source_is_read_a_few_steps_ahead_only() -> None:
    drawn = list[int]()

    def source() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with SideBySide() as sides:
        made = sides.make(abs, source())
        next(made)
        assert len(drawn) <= 4
        assert [one for one, _ in made] == list(range(1, 100))

"""Threads of a process that trains."""

import os
from collections.abc import Iterator

import pytest
import torch

from recsys_vae.training.host import prepare_host, usual_threads


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("3", 3), (" 2 ", 2), ("2,1", 2)])
def test_as_many_threads_as_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, asked: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    prepare_host()
    assert torch.get_num_threads() == usual_threads() == threads


@pytest.mark.parametrize("asked", ["", "0", "many", "-1"])
def test_as_many_threads_as_cores_may_be_used_where_it_says_nothing(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr("recsys_vae.training.host.cpu_count", lambda: 5)
    assert usual_threads() == 5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen on Linux only")
def test_one_core_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usual_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_what_is_asked_for_here_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    prepare_host(2)
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="at least 1"):
        prepare_host(0)

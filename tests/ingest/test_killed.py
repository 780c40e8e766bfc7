"""A process killed while it ingests: nothing half-written stays, and the next one mends."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_vae.interactions import load_interactions

_FORKS = """
import os, sys
import recsys_vae.steps.ingest
from recsys_vae.cli import main

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
        try:
            main(line.split())
        except SystemExit as stopped:
            code = stopped.code
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Imports once and runs each line in a process of its own."""


class Forks:
    """Processes that run the command line, and can be killed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._asked, self._told = process.stdin, process.stdout

    def start(self, line: str) -> int:
        self._asked.write(line + "\n")
        self._asked.flush()
        return int(self._told.readline())

    def wait(self) -> int:
        return int(self._told.readline())


@contextmanager
def forks() -> Iterator[Forks]:
    command = [sys.executable, "-c", _FORKS]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()


def write_rows(path: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    columns = {"user": rng.integers(0, count // 40, count), "item": rng.integers(0, 5_000, count)}
    columns |= {
        "rating": rng.integers(1, 6, count),
        "timestamp": rng.integers(10**9, 1_500_000_000, count),
    }
    pd.DataFrame(columns).to_csv(path, index=False)


def until_begun(out: Path) -> None:
    end = time.monotonic() + 60
    while not list(out.parent.glob(f".{out.name}.partial-*")):
        assert time.monotonic() < end, "nothing was begun"
        time.sleep(0.001)


def fingerprint(folder: Path) -> str:
    told = str(json.loads((folder / "ingest.json").read_text())["fingerprint"])
    assert load_interactions(folder / "interactions").fingerprint == told
    return told


def attack(folder: Path, rows: int, kills: int) -> None:
    write_rows(folder / "rows.csv", rows)
    out, drawn = folder / "out", random.Random(7)
    line = f"ingest --data {folder / 'rows.csv'} --out {out}"
    with forks() as running:
        running.start(line)
        until_begun(out)
        begun = time.monotonic()
        assert running.wait() == 0
        lasts, whole = time.monotonic() - begun, fingerprint(out)
        for number in range(kills):
            # Sometimes there is an earlier result that must not be lost, sometimes none.
            if number % 2 and out.exists():
                out.rename(folder / f"earlier-{number}")
            before = out.exists()
            pid = running.start(line)
            until_begun(out)
            time.sleep(drawn.uniform(0, lasts))
            subprocess.run(["kill", "-KILL", str(pid)], capture_output=True, check=False)
            running.wait()
            aside = list(folder.glob(".out.old-*"))
            assert out.exists() or aside or not before
            for one in [out] if out.exists() else aside:
                assert fingerprint(one) == whole
        running.start(line)
        assert running.wait() == 0
    assert fingerprint(out) == whole
    assert list(folder.glob(".out.*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_whoever_is_killed_leaves_all_or_nothing(store: Path) -> None:
    attack(store, rows=60_000, kills=3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_whoever_is_killed_often_leaves_all_or_nothing(store: Path) -> None:
    attack(store, rows=3_000_000, kills=40)

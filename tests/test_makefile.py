"""`make run` passes on what it is given, and refuses what it does not know."""

import shutil
import subprocess
from pathlib import Path

import pytest

_HOME = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def made(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--dry-run", "run", *arguments], cwd=_HOME, text=True, capture_output=True
    )


def offered() -> list[str]:
    (line,) = (
        one for one in (_HOME / "Makefile").read_text().splitlines() if one.startswith("run:")
    )
    return [word[:-1] for word in line.partition("##")[2].split() if word.endswith("=")]


def test_every_variable_that_is_offered_reaches_the_pipeline() -> None:
    assert len(offered()) > 10
    for name in offered():
        done = made(f"{name}=something")
        assert done.returncode == 0, done.stderr
        assert f'-P "{name.lower()}=something"' in done.stdout


def test_a_misspelt_variable_is_refused() -> None:
    done = made("RECIPE=ease")
    assert done.returncode == 2
    assert "make takes no variable RECIPE: choose one of DATA" in done.stderr

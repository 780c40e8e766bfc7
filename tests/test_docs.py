"""What the documents say can be done: links lead somewhere, commands are understood, and run."""

import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import click
import pytest

from recsys_vae.cli import cli

_REPOSITORY: Final = Path(__file__).parents[1]
_DOCUMENTS: Final = sorted([_REPOSITORY / "README.md", *(_REPOSITORY / "docs").glob("*.md")])
_BLOCK: Final = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMES: Final = [str(path.relative_to(_REPOSITORY)) for path in _DOCUMENTS]


def blocks(document: Path) -> list[tuple[list[str], str]]:
    """The fenced blocks: the words behind the fence, and what is between."""
    return [(head.split(), body) for head, body in _BLOCK.findall(document.read_text("utf-8"))]


def commands(document: Path) -> list[list[str]]:
    """Commands of ours in fenced blocks, a list of words each."""
    lines = [
        line.strip()
        for _, body in blocks(document)
        for line in body.replace("\\\n", " ").splitlines()
    ]
    ours = [line for line in lines if line.startswith("recsys-vae ") and "..." not in line]
    return [shlex.split(line.partition(" || ")[0], comments=True)[1:] for line in ours]


@pytest.mark.parametrize("name", _NAMES)
def test_links_lead_to_files(name: str) -> None:
    document = _REPOSITORY / name
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_the_index_links_every_guide() -> None:
    index = (_REPOSITORY / "docs" / "README.md").read_text("utf-8")
    guides = {path.name for path in (_REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in guides if f"({name})" not in index} == set()


@pytest.mark.parametrize("name", _NAMES)
def test_commands_are_understood(name: str) -> None:
    for words in commands(_REPOSITORY / name):
        command: click.Command = cli
        while isinstance(command, click.Group):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(str(command.name), list(words))


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (_REPOSITORY / "docs/images").iterdir()}
    assert {name: size for name, size in sizes.items() if size > 200_000} == {}


def _shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(_REPOSITORY),
        **variables,
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


def _runnable(name: str) -> list[tuple[list[str], str]]:
    found = blocks(_REPOSITORY / "docs" / name)
    return [(head[2:], body) for head, body in found if head[:2] == ["bash", "runnable"]]


@pytest.mark.slow
def test_the_first_five_minutes(tmp_path: Path) -> None:
    """In one shell, as somebody would who copies one block after the other."""
    done = _shell("\n".join(body for _, body in _runnable("start.md")), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mult-vae" in done.stdout
    assert (tmp_path / "outputs/report.html").read_text("utf-8").endswith("</html>\n")
    # Two histories, two rows of five items.
    assert re.search(r"^0 +\[\d+(, \d+){4}\]", done.stdout, re.MULTILINE)
    assert re.search(r"^1 +\[\d+(, \d+){4}\]", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_a_night_another_one_and_one_that_fails(tmp_path: Path) -> None:
    script, drift = _runnable("nightly.md")
    nightly = tmp_path / script[0][0]
    nightly.write_text(script[1])
    nightly.chmod(nightly.stat().st_mode | stat.S_IXUSR)
    first = _shell("./nightly.sh", tmp_path, NIGHT="nights/1")
    assert first.returncode == 0, first.stderr
    latest = tmp_path / "nights" / "latest"
    assert str(latest.readlink()) == "1"
    assert (latest / "lists/all-users/_manifest.json").is_file()
    assert (latest / "report.html").is_file()
    # Bad data: the sentence, the code, and yesterday's lists stay.
    (tmp_path / "bad.csv").write_text("nothing\nof use\n")
    failed = _shell("./nightly.sh", tmp_path, NIGHT="nights/2", DATA="bad.csv")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("recsys-vae: ")
    assert str(latest.readlink()) == "1"
    # A night that is still running keeps others away.
    held = _shell("exec 8> nights/.lock; flock 8; ./nightly.sh 8>&-", tmp_path)
    assert held.returncode == 75
    again = _shell("./nightly.sh", tmp_path, NIGHT="nights/3", RECIPE="random")
    assert again.returncode == 0, again.stderr
    assert str(latest.readlink()) == "3"
    told = _shell(drift[1], tmp_path)
    assert "stable" in told.stdout, told.stderr

"""Two processes that make the same folder: the second one refuses, and no lock stays."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recsys_vae.cli import cli
from recsys_vae.errors import InputError
from recsys_vae.steps.alone import alone_making
from tests.models.made_up import made_up


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    rows = made_up(60, 20, 0.3, 2).frame()[["user", "item"]]
    rows.to_csv(folder / "plays.csv", index=False)
    for step in (
        ("ingest", "--data", folder / "plays.csv", "--out", folder / "data"),
        ("split", "--data", folder / "data", "--held-out-users", "10", "--out", folder / "split"),
        ("train", "--split", folder / "split", "--recipe", "ease", "--out", folder / "first"),
    ):
        result = run(*step)
        assert result.exit_code == 0, (result.output, result.exception)
    return folder


def making(verb: str, home: Path, out: Path) -> Result:
    inputs: dict[str, tuple[object, ...]] = {
        "train": ("--split", home / "split", "--recipe", "ease"),
        "refit": ("--model", home / "first", "--data", home / "data"),
    }
    return run(verb, *inputs[verb], "--out", out)


@pytest.mark.parametrize("verb", ["train", "refit"])
def test_a_second_process_leaves_the_folder_to_the_first(
    verb: str, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models" / "ease"
    with alone_making(out):
        result = making(verb, home, out)
        assert isinstance(result.exception, InputError), result.exception
        assert str(result.exception) == (
            f"another process is making {out}: wait for it, or give another --out"
        )
        # Elsewhere there is work for both.
        assert making(verb, home, tmp_path / "models" / "other").exit_code == 0
    assert making(verb, home, out).exit_code == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["ease", "other"]


def test_a_lock_that_a_killed_process_left_keeps_nobody_out(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".ease.lock").touch()
    assert making("train", home, tmp_path / "ease").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ease"]


def test_a_training_that_fails_leaves_no_lock(home: Path, tmp_path: Path) -> None:
    result = run("train", "--split", home / "data", "--recipe", "ease", "--out", tmp_path / "ease")
    assert isinstance(result.exception, InputError), result.exception
    assert list(tmp_path.iterdir()) == []

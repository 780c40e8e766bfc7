"""What several tests share: a checkerboard, small interactions, a tracking store of one's own."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import settings

from recsys_vae.interactions import Interactions

pytest.register_assert_rewrite("tests.contract")

# Derandomised: a commit passes or fails alike on every machine. No deadline: the first call of
# torch in a process takes seconds, which says nothing about the law under test.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tests")


def pytest_configure() -> None:
    # Tensors are small here, and pytest-xdist has a process a core: more threads than cores only
    # wait for each other. Read when torch is first imported, also by the processes of the tests.
    os.environ["OMP_NUM_THREADS"] = "1"
    # Threads that wait by spinning take the cores from those that work.
    os.environ["OMP_WAIT_POLICY"] = "passive"


@dataclass(frozen=True, slots=True)
class Checkerboard:
    """Users and items of two colours; users like the items of their own colour.

    Attributes:
        train: each user's own-colour items but one.
        withheld_U: the item number of that one.
        colour_I: each item's colour, 0 or 1.
    """

    train: Interactions
    withheld_U: npt.NDArray[np.int64]
    colour_I: npt.NDArray[np.int64]


@pytest.fixture(scope="session")
def checkerboard() -> Checkerboard:
    n_users, n_items = 60, 24
    colour_I = np.arange(n_items) % 2
    rows, withheld = [], []
    for user in range(n_users):
        own = np.flatnonzero(colour_I == user % 2)
        withheld.append(own[(user // 2) % len(own)])
        rows += [(user, item) for item in own if item != withheld[-1]]
    train = Interactions.from_frame(pd.DataFrame(rows, columns=["user", "item"]))
    return Checkerboard(train, np.array(withheld), colour_I)


@pytest.fixture(scope="session")
def small() -> Interactions:
    """Three users and four items: u0 took 0, 1, 2; u1 took 1; u2 took 2, 3."""
    rows = [("u0", 0), ("u0", 1), ("u0", 2), ("u1", 1), ("u2", 2), ("u2", 3)]
    return Interactions.from_frame(pd.DataFrame(rows, columns=["user", "item"]))


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Settings of a Mult-VAE that trains within a second or two."""
    return {"hidden": [32], "latent": 8, "training": {"epochs": 3}}


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs, made once: its migrations take seconds."""
    import mlflow

    folder = tmp_path_factory.mktemp("database")
    path = folder / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@contextmanager
def tracking_store(folder: Path, empty_database: Path) -> Iterator[Path]:
    """Make `folder` the working folder, with a tracking store of its own."""
    shutil.copy(empty_database, folder / "mlflow.db")
    with tracked_at(f"sqlite:///{folder / 'mlflow.db'}", folder):
        yield folder


@contextmanager
def tracked_at(uri: str, folder: Path) -> Iterator[None]:
    """Make `folder` the working folder, and track at `uri`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            # Set first, so that what MLflow itself puts there is taken back, too.
            patch.setenv(name, "")
            patch.delenv(name)
        patch.chdir(folder)
        yield


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Iterator[Path]:
    """A working folder with a tracking store of its own."""
    with tracking_store(tmp_path, empty_database) as folder:
        yield folder


Refused = Callable[..., str]


def made_up_ratings(n_users: int = 40, n_items: int = 15) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(user, item) for user in range(n_users) for item in rng.permutation(n_items)[:8]]
    return pd.DataFrame(rows, columns=["userId", "movieId"]).assign(rating=5.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """Good data, a good split and two good models, with which one thing at a time is wrong."""
    from recsys_vae.cli import main

    folder = tmp_path_factory.mktemp("cli")
    with tracking_store(folder, empty_database):
        made_up_ratings().to_csv("ratings.csv", index=False)
        made_up_ratings(n_items=14).to_csv("others.csv", index=False)
        for name in ("ratings", "others"):
            main(["ingest", "--data", f"{name}.csv", "--out", f"{name}/data"])
            held = ["--held-out-users", "10"]
            main(["split", "--data", f"{name}/data", *held, "--out", f"{name}/split"])
        quick = ["--set", "hidden=[8]", "--set", "latent=2", "--set", "training.epochs=1"]
        main(["train", "--split", "ratings/split", *quick, "--out", "vae"])
        main(["train", "--split", "ratings/split", "--recipe", "popularity", "--out", "popular"])
        yield folder


@pytest.fixture
def refused(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a verb that must refuse; `{tmp}` stands for a folder of the test. Gives the sentence."""

    from recsys_vae.cli import main

    def run(*arguments: str, out: bool = True) -> str:
        assert Path.cwd() == workspace
        capsys.readouterr()
        target = tmp_path / "result" / "out"
        options = ["--out", str(target)] if out else []
        filled = [one.replace("{tmp}", str(tmp_path)) for one in arguments]
        with pytest.raises(SystemExit) as stopped:
            main([*filled, *options])
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        (line,) = shown.err.splitlines()
        assert line.startswith("recsys-vae: ")
        # A library's own reason may be quoted in brackets, of whatever form it is.
        own_words = re.sub(r"\(.*\)", "()", line)
        assert not re.search(r"[.!?]\s+[A-Z]", own_words), f"more than one sentence: {line}"
        assert "Traceback" not in line
        assert not target.exists()
        assert list(target.parent.glob("**/*")) == []
        return line

    return run

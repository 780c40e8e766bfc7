"""The command line loses nothing: not the user's files, not a registered model, not a row."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from recsys_vae.cli import main
from tests.conftest import Refused, made_up_ratings

pytestmark = pytest.mark.usefixtures("workspace")
_TINY = ["--set", "hidden=[4]", "--set", "latent=2", "--set", "training.epochs=1"]
_VERBS = {
    "ingest": ("ingest", "--data", "ratings.csv"),
    "profile": ("profile", "--data", "ratings/data"),
    "split": ("split", "--data", "ratings/data", "--held-out-users", "10"),
    "train": ("train", "--split", "ratings/split", "--recipe", "popularity"),
    "evaluate": ("evaluate", "--split", "ratings/split", "--model", "popular"),
    "score": ("score", "--model", "popular", "--histories", "ratings.csv"),
}


@pytest.mark.parametrize("verb", _VERBS)
def test_a_folder_of_somebody_elses_files_is_never_replaced(
    refused: Refused, tmp_path: Path, verb: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    sentence = refused(*_VERBS[verb], "--out", "{tmp}/mine", out=False)
    assert re.search(r"mine holds 'thesis.tex'.*--out", sentence)
    assert (mine / "thesis.tex").read_text() == "years of work"


def test_main_does_not_replace_the_folder_that_its_data_lie_in(
    refused: Refused, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    made_up_ratings().to_csv(tmp_path / "data" / "ratings.csv", index=False)
    refused("main", "--data", "{tmp}/data/ratings.csv", "--out", "{tmp}", out=False)
    assert len(pd.read_csv(tmp_path / "data" / "ratings.csv")) == 320


def test_recommend_does_not_overwrite_its_histories(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    made_up_ratings().to_csv(path, index=False)
    asked = ("recommend", "--model", "popular", "--histories", str(path))
    assert "also an input" in refused(*asked, "--out", str(path), out=False)
    assert len(pd.read_csv(path)) == 320


@pytest.mark.parametrize("verb", ["recommend", "score"])
def test_histories_of_other_data_are_refused(refused: Refused, tmp_path: Path, verb: str) -> None:
    (tmp_path / "songs.csv").write_text("user,item\n1,song-a\n1,song-b\n2,song-a\n")
    asked = (verb, "--model", "popular", "--k", "3", "--histories", "{tmp}/songs.csv")
    assert "knows none of" in refused(*asked, out=verb == "score")


_LATE = {
    "a bad setting of the last model": ("--recipes", "popularity,{tmp}/bad.toml"),
    "an unknown device": ("--recipes", "popularity", "--device", "abacus"),
    "a name that the registry refuses": ("--recipes", "popularity", "--register", "a/b"),
    "a model named twice": ("--recipes", "popularity,popularity"),
}


@pytest.mark.parametrize("case", _LATE)
def test_main_refuses_before_it_has_done_anything(
    refused: Refused, tmp_path: Path, case: str
) -> None:
    (tmp_path / "bad.toml").write_text('model = "mult-vae"\nlatent = -1\n')
    before = len(mlflow.MlflowClient().search_registered_models())
    refused("main", "--data", "ratings.csv", *_LATE[case])
    assert len(mlflow.MlflowClient().search_registered_models()) == before


_EXTREME = {
    "a seed beyond 64 bits": ("train", "--split", "ratings/split", "--seed", "9" * 40),
    "a split seed beyond 64 bits": ("split", "--data", "ratings/data", "--split-seed", "9" * 40),
    "a number too long to be one": (*_VERBS["train"], "--set", f"epochs={'9' * 5_000}"),
    "a nest without end": (*_VERBS["train"], "--set", f"latent={'[' * 5_000}"),
    "a layer larger than any memory": (
        "train", "--split", "ratings/split", "--set", "latent=99999999999999",
    ),
    "a metric at a number too long": (*_VERBS["evaluate"], "--metrics", f"recall@{'9' * 5_000}"),
    "a registered name with a slash": (*_VERBS["train"], "--register", "a/b"),
}  # fmt: skip


@pytest.mark.parametrize("case", _EXTREME)
def test_an_extreme_option_is_refused_in_one_sentence(refused: Refused, case: str) -> None:
    refused(*_EXTREME[case])


@pytest.mark.parametrize("uri", ["foo://bar", "postgresql://nowhere/db", "ratings.csv"])
def test_a_store_that_mlflow_cannot_use_is_told_in_one_sentence(tmp_path: Path, uri: str) -> None:
    # In a process of its own: MLflow remembers a bad store for the rest of its life.
    done = run_apart([*_VERBS["ingest"], "--out", str(tmp_path / "out")], Path.cwd(), uri)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "MLFLOW_TRACKING_URI" in line
    assert not (tmp_path / "out").exists()


def run_apart(arguments: list[str], folder: Path, uri: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "MLFLOW_TRACKING_URI": uri,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "PATH": "",
    }
    command = [sys.executable, "-m", "recsys_vae", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_user_who_took_everything_gets_an_empty_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"7,{item}" for item in range(15)]
    (tmp_path / "all.csv").write_text("\n".join(["userId,movieId", *rows]) + "\n")
    out = tmp_path / "out.csv"
    asked = ["--model", "popular", "--histories", str(tmp_path / "all.csv"), "--out", str(out)]
    main(["recommend", *asked])
    assert "short: too few items" in capsys.readouterr().out
    assert len(pd.read_csv(out)) == 0


def test_a_user_named_twice_gets_one_list(tmp_path: Path) -> None:
    asked = ["--model", "popular", "--histories", "ratings.csv", "--users", "3,3,1", "--k", "2"]
    main(["recommend", *asked, "--out", str(tmp_path / "out.csv")])
    frame = pd.read_csv(tmp_path / "out.csv")
    assert frame["user"].tolist() == [1, 1, 3, 3]
    assert frame["rank"].tolist() == [1, 2, 1, 2]


def test_items_that_the_model_does_not_know_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "h.csv").write_text("userId,movieId\n1,3\n1,9999\n")
    main(["recommend", "--model", "popular", "--histories", str(tmp_path / "h.csv")])
    assert "1 items the model does not know" in capsys.readouterr().out


def test_two_models_of_a_kind_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "--split", "ratings/split", *_TINY, "--out", str(tmp_path / "other")])
    models = f"vae,{tmp_path / 'other'}"
    out = tmp_path / "out"
    main(["evaluate", "--split", "ratings/split", "--model", models, "--out", str(out)])
    assert pd.read_csv(out / "metrics.csv")["model"].nunique() == 2
    assert "other" in capsys.readouterr().out


def test_without_a_verb_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert "Commands:" in capsys.readouterr().out


def test_two_processes_may_meet_at_a_fresh_store(tmp_path: Path) -> None:
    made_up_ratings().to_csv(tmp_path / "ratings.csv", index=False)
    uri = f"sqlite:///{tmp_path / 'fresh.db'}"
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(run_apart, [*_VERBS["ingest"], "--out", f"data-{number}"], tmp_path, uri)
            for number in range(2)
        ]
    for one in running:
        assert one.result().returncode == 0, one.result().stderr

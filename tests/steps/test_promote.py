"""promote: champion, challenger, and who was champion before."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import load_model, make_model, save_model
from recsys_vae.splitting import load_split
from recsys_vae.tracking.registry import log_model, register
from recsys_vae.tracking.runs import step_run
from recsys_vae.tracking.standing import Standing, make_champion, standing
from tests.conftest import tracking_store

_NAME = "recsys-vae"

pytestmark = pytest.mark.usefixtures("registry")


@pytest.fixture(scope="module")
def tastes(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Users of two tastes, and models that know it (`ease`) or do not (`popularity`, `random`)."""
    folder = tmp_path_factory.mktemp("promotions")
    rng = np.random.default_rng(0)
    rows = [
        (user, 2 * item + user % 2)
        for user in range(200)
        for item in rng.permutation(20)[:12].tolist()
    ]
    with tracking_store(folder, empty_database):
        pd.DataFrame(rows, columns=["user", "item"]).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--held-out-users", "40", "--out", "split"])
        train = load_split(Path("split")).train
        for name in ("ease", "popularity", "random"):
            _save(make_model(name, {}), train, Path(name))
        frame = train.frame()
        _save(
            make_model("ease", {}), Interactions.from_frame(frame[frame["item"] > 1]), Path("few")
        )
    return folder


def _save(model: Any, train: Interactions, folder: Path) -> None:
    save_model(model.fit(train, FitOptions()), folder)


@pytest.fixture
def registry(tastes: Path, empty_database: Path) -> Iterator[Path]:
    """The same models, and a registry in which nothing is registered."""
    with tracking_store(tastes, empty_database):
        yield tastes


def _registered(folder: str) -> None:
    with step_run("train"):
        register(log_model(load_model(Path(folder)), Path(folder)), _NAME)


def _promote(*arguments: str, code: int = 0) -> None:
    # How busy the machine is must decide nothing, but where latency itself is looked at.
    command = ["promote", "--split", "split", "--latency-floor", "1e6", *arguments]
    if code == 0:
        main(command)
        return
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == code


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def _last_run() -> Any:
    (run,) = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.`recsys_vae.step` = 'promote'",
        order_by=["attributes.start_time DESC"], max_results=1, output_format="list",
    )  # fmt: skip
    return run


def test_first_better_and_worse(capsys: pytest.CaptureFixture[str]) -> None:
    _registered("popularity")
    _promote()
    assert _said(capsys) == "version 1 is promoted: there was no champion"
    assert standing(_NAME) == Standing(_NAME, "1", "1", None)
    _promote()
    assert _said(capsys) == "version 1 is the champion already"

    _registered("ease")
    _promote("--dry-run")
    assert _said(capsys).startswith("version 2 would be promoted: ndcg@100 is ")
    assert standing(_NAME) == Standing(_NAME, "2", "1", None)
    _promote()
    shown = capsys.readouterr().out
    assert "Means over the same users" in shown
    assert shown.splitlines()[-1].startswith("version 2 is promoted: ndcg@100 is ")
    assert standing(_NAME) == Standing(_NAME, "2", "2", "1")

    run = _last_run()
    assert run.data.tags["recsys_vae.verdict"] == "promoted"
    assert run.data.tags["recsys_vae.reason"] == shown.splitlines()[-1]
    assert run.data.tags["recsys_vae.challenger"] == "2"
    assert run.data.metrics["p"] < 0.05
    metrics = run.data.metrics
    ahead = metrics["challenger_ndcg_at_100"] - metrics["champion_ndcg_at_100"]
    assert metrics["difference"] == pytest.approx(ahead, rel=1e-9)
    table = mlflow.load_table("checks.json", run_ids=[run.info.run_id])
    assert table["name"].tolist() == ["ndcg@100", "coverage", "latency", "size"]
    assert table["kept"].all()
    board = mlflow.load_table("comparison.json", run_ids=[run.info.run_id])
    assert set(board["model"]) == {"champion", "challenger"}

    _registered("random")
    _promote(code=1)
    assert "which is not surely ahead" in _said(capsys)
    assert standing(_NAME) == Standing(_NAME, "3", "2", "1")
    version = mlflow.MlflowClient().get_model_version(_NAME, "3")
    assert version.tags["recsys_vae.verdict"] == "refused"
    assert version.tags["recsys_vae.promotion"] == _last_run().info.run_id
    assert _last_run().info.status == "FINISHED"


def test_the_very_model_that_is_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    _registered("ease")
    _promote()
    _registered("ease")
    # Within a margin it would have been as good.
    _promote("--margin", "0.1", code=1)
    assert _said(capsys) == (
        "version 2 is refused: it is the very model that version 1 (@champion) is"
    )
    assert standing(_NAME) == Standing(_NAME, "2", "1", None)


def test_guard_rails_refuse_whoever_is_ahead(capsys: pytest.CaptureFixture[str]) -> None:
    _registered("popularity")
    _promote()
    _registered("ease")
    _promote("--max-size", "1", "--size-floor", "0", code=1)
    assert "its size is " in _said(capsys)
    _promote("--max-latency", "0", "--latency-floor", "0", code=1)
    assert "its latency is " in _said(capsys)
    _promote("--min-coverage", "1000", code=1)
    assert "% of the catalogue, which is less than " in _said(capsys)
    assert standing(_NAME) == Standing(_NAME, "2", "1", None)


def test_a_rollback_goes_back_once_and_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    _registered("popularity")
    _promote()
    _registered("ease")
    _promote()
    capsys.readouterr()
    main(["promote", "--rollback"])
    assert _said(capsys) == "version 1 is champion again, in place of 2"
    assert standing(_NAME) == Standing(_NAME, "2", "1", None)
    with pytest.raises(SystemExit) as stopped:
        main(["promote", "--rollback"])
    assert stopped.value.code == 2
    assert "no previous champion" in capsys.readouterr().err
    _promote(code=1)
    assert "it was champion and rolled back" in _said(capsys)
    _promote("--force")
    assert _said(capsys) == "version 2 is promoted: --force was given"
    assert standing(_NAME) == Standing(_NAME, "2", "2", "1")


def test_whoever_was_stopped_between_the_aliases_has_broken_nothing() -> None:
    _registered("popularity")
    _promote()
    _registered("ease")
    mlflow.MlflowClient().set_registered_model_alias(_NAME, "previous", "1")
    assert standing(_NAME) == Standing(_NAME, "2", "1", None)
    _promote()
    assert standing(_NAME) == Standing(_NAME, "2", "2", "1")


def test_a_champion_of_fewer_items_is_asked_about_those_that_it_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _registered("few")
    make_champion(standing(_NAME), "1")
    _registered("ease")
    _promote("--margin", "0.9")
    known = len(load_model(Path("few")).items)
    everything = len(load_model(Path("ease")).items)
    assert known < everything
    said = _said(capsys)
    assert said.startswith("version 2 is promoted: ndcg@100 is ")
    assert said.endswith(f"; the champion knows {known} of the {everything} items")
    assert standing(_NAME) == Standing(_NAME, "2", "2", "1")


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["promote", *arguments])
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def test_what_cannot_be_compared_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    split = ("--split", "split")
    assert "MLflow has no registered model 'recsys-vae'" in _refusal(capsys, *split)
    assert "give a folder of 'split' as --split" in _refusal(capsys)
    _registered("few")
    assert "other items than version 1 (@challenger)" in _refusal(capsys, *split)
    _registered("ease")
    _promote()
    assert "coverage@20 is no measure of accuracy" in _refusal(
        capsys, *split, "--metric", "coverage@20"
    )
    assert "there is no metric 'ndcg'" in _refusal(capsys, *split, "--metric", "ndcg")
    assert "--alpha 2 " in _refusal(capsys, *split, "--alpha", "2")
    mlflow.MlflowClient().delete_registered_model_alias(_NAME, "challenger")
    assert "has no version with the alias 'challenger'" in _refusal(capsys, *split)
    assert standing(_NAME) == Standing(_NAME, None, "2", None)


_RACE = """
import sys
from recsys_vae.tracking.standing import OvertakenError, make_champion, standing
before = standing("recsys-vae")
print("ready", flush=True)
sys.stdin.readline()
try:
    make_champion(before, sys.argv[1])
    print("won")
except OvertakenError as error:
    print("lost to", error.champion)
"""


def test_of_several_promotions_at_once_exactly_one_wins() -> None:
    for name in ("popularity", "ease", "random"):
        _registered(name)
    make_champion(standing(_NAME), "1")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, version], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for version in ("2", "3")
    ]  # fmt: skip
    for one in racers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    # All have read that version 1 is champion; now all of them set another.
    answers = [one.communicate("go\n")[0].strip() for one in racers]
    assert sorted(answer.split()[0] for answer in answers) == ["lost", "won"]
    winner = str(2 + answers.index("won"))
    assert set(answers) == {"won", f"lost to {winner}"}
    assert standing(_NAME) == Standing(_NAME, "3", winner, "1")


def test_a_champion_of_another_draw_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["split", "--data", "data", "--held-out-users", "40", "--split-seed", "7", "--out",
          "other"])  # fmt: skip
    for split, recipe in (("other", "popularity"), ("split", "ease")):
        main(["train", "--split", split, "--recipe", recipe, "--register", _NAME, "--out",
              f"of-{split}"])  # fmt: skip
        _promote("--split", split)
    assert _said(capsys).endswith(
        "; version 1 (@champion) may have learned what this split holds out"
    )

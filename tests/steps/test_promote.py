"""A challenger serves if it is ahead and within the guard rails."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import mlflow
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest.sample import make_sample
from recsys_vae.splitting import StrongOptions
from recsys_vae.steps.ingest import IngestOptions, ingest
from recsys_vae.steps.promote import PromoteOptions, go_back, promote
from recsys_vae.steps.recipes import Recipe
from recsys_vae.steps.split import split
from recsys_vae.steps.train import train
from recsys_vae.tracking.champion import CHAMPION, PREVIOUS, crown, version_called
from tests.conftest import tracking_store

_NAME: Final = "films"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    """Four versions: random, EASE, EASE with another ridge, popularity."""
    folder = tmp_path_factory.mktemp("promotions")
    make_sample(n_users=500, n_items=120).ratings.to_csv(folder / "ratings.csv", index=False)
    with tracking_store(folder, empty_database):
        ingest(IngestOptions(data="ratings.csv", out=folder / "data"))
        split(data=folder / "data", out=folder / "split", options=StrongOptions(held_out_users=90))
        recipes = [Recipe("random", {}), Recipe("ease", {"ridge": 20.0}),
                   Recipe("ease", {"ridge": 20.0001}), Recipe("popularity", {})]  # fmt: skip
        for number, recipe in enumerate(recipes):
            train(split=folder / "split", recipe=recipe, out=folder / str(number), seed=0,
                  device="cpu", register=_NAME)  # fmt: skip
        yield folder


@pytest.fixture
def options(folder: Path) -> PromoteOptions:
    """Options without guard rails; the registry begins without a champion."""
    client = mlflow.MlflowClient()
    for alias in (CHAMPION, PREVIOUS):
        client.delete_registered_model_alias(_NAME, alias)
    return PromoteOptions(
        name=_NAME, split=folder / "split", max_latency=0, min_coverage=0, max_size=0
    )


def _challenge(version: int) -> None:
    mlflow.MlflowClient().set_registered_model_alias(_NAME, "challenger", str(version))


def _aliases() -> tuple[str | None, str | None]:
    return version_called(_NAME, CHAMPION), version_called(_NAME, PREVIOUS)


def test_the_first_challenger_serves_and_one_that_is_ahead_follows_it(
    options: PromoteOptions,
) -> None:
    _challenge(1)
    first = promote(options)
    assert first.promoted
    assert "first champion" in first.reason
    assert _aliases() == ("1", None)
    _challenge(2)
    second = promote(options)
    assert second.promoted
    assert second.difference is not None
    assert second.difference.p <= 0.05
    assert second.difference.mean == pytest.approx(
        second.challenger.quality - first.challenger.quality
    )
    assert _aliases() == ("2", "1")
    run = mlflow.MlflowClient().get_run(second.run_id)
    assert run.data.tags["recsys_vae.decision"] == "promoted"
    assert run.data.tags["recsys_vae.reason"] == second.reason
    assert run.data.metrics["challenger_quality"] == second.challenger.quality


def test_one_that_is_behind_is_refused_and_one_that_is_level_only_where_that_is_too_little(
    options: PromoteOptions,
) -> None:
    crown(_NAME, "2", instead_of=None)
    _challenge(4)
    verdict = promote(options)
    assert not verdict.promoted
    assert "it is behind version 2 in ndcg@100" in verdict.reason
    assert mlflow.MlflowClient().get_run(verdict.run_id).data.tags["recsys_vae.decision"] == (
        "refused"
    )
    _challenge(3)
    assert "not surely ahead" in promote(options).reason
    assert _aliases() == ("2", None)
    assert promote(replace(options, accept_equal=True)).promoted
    assert _aliases() == ("3", "2")


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"min_coverage": 1.5}, "coverage@20 falls"),
        ({"max_size": 1e-6}, "its size is"),
        ({"max_latency": 1e-6}, "a user takes"),
    ],
)
def test_a_guard_rail_refuses_who_is_ahead(
    options: PromoteOptions, limit: dict[str, Any], words: str
) -> None:
    crown(_NAME, "1", instead_of=None)
    _challenge(2)
    verdict = promote(replace(options, **limit))
    assert not verdict.promoted
    assert words in verdict.reason
    assert _aliases() == ("1", None)


def test_a_dry_run_changes_nothing_and_the_champion_does_not_challenge_itself(
    options: PromoteOptions,
) -> None:
    _challenge(2)
    assert not promote(replace(options, dry_run=True)).promoted
    assert _aliases() == (None, None)
    crown(_NAME, "2", instead_of=None)
    assert "it is the champion already" in promote(options).reason


@pytest.mark.usefixtures("options")
def test_it_can_be_taken_back_once() -> None:
    crown(_NAME, "1", instead_of=None)
    crown(_NAME, "2", instead_of="1")
    assert go_back(_NAME) == "version 1 of 'films' serves again, in the place of 2"
    assert _aliases() == ("1", None)
    with pytest.raises(InputError, match="no previous champion"):
        go_back(_NAME)


@pytest.mark.usefixtures("options")
def test_a_champion_that_came_meanwhile_is_not_overrun() -> None:
    crown(_NAME, "1", instead_of=None)
    with pytest.raises(InputError, match="became champion while"):
        crown(_NAME, "2", instead_of=None)
    assert _aliases() == ("1", None)


_CROWN: Final = """
import sys
from recsys_vae.errors import InputError
from recsys_vae.tracking.champion import crown
try:
    crown("films", sys.argv[1], instead_of="1")
except InputError:
    sys.exit(2)
"""


@pytest.mark.usefixtures("options")
def test_of_several_at_once_exactly_one_is_promoted() -> None:
    crown(_NAME, "1", instead_of=None)
    both = [subprocess.Popen([sys.executable, "-c", _CROWN, version]) for version in ("2", "3")]
    codes = {version: process.wait(120) for version, process in zip(("2", "3"), both, strict=True)}
    assert sorted(codes.values()) == [0, 2]
    winner = next(version for version, code in codes.items() if code == 0)
    assert _aliases() == (winner, "1")


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", _NAME], "--split is missing"),
        (["--name", "nobody", "--split", "split"], "no model 'nobody'"),
        (["--name", _NAME, "--split", "split", "--metric", "x@3"], "x@3"),
        (["--name", _NAME, "--split", "data"], "is not a split"),
        (["--name", _NAME, "--rollback"], "no previous champion"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["promote", *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_refusal_is_exit_code_1(
    options: PromoteOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    crown(_NAME, "2", instead_of=None)
    _challenge(4)
    with pytest.raises(SystemExit) as stopped:
        main(["promote", "--name", _NAME, "--split", str(options.split)])
    assert stopped.value.code == 1
    assert "version 4 is refused: it is behind version 2" in capsys.readouterr().out

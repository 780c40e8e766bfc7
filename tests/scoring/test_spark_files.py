"""Spark takes files for what the local engine takes them for, or refuses them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model
from recsys_vae.scoring.spark.session import SparkOptions, spark_session
from recsys_vae.scoring.spark.storage import Storage
from recsys_vae.scoring.workplace import MANIFEST
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.score_spark import SparkScoreOptions, score_on_spark
from tests.conftest import tracking_store
from tests.scoring.test_spark import SPARK, needs_spark

pytestmark = needs_spark
PLAIN, LATIN = ReadOptions(), ReadOptions(encoding="latin-1")
_SECOND = ["item,user\n12,2\n", "2,12\n3,12\n", "user,thing\n2,12\n", "user,item,x\n2,12,1\n"]


@dataclass(frozen=True)
class Engines:
    """Both engines, by a model whose ratings count above `threshold`."""

    model: Path
    out: Path

    def local(self, histories: Path, reading: ReadOptions) -> list[Any]:
        options = ScoreOptions(
            model=str(self.model), histories=histories, out=self.out / "local", k=2,
            reading=reading, unsorted=True,
        )  # fmt: skip
        score(options)
        return _users(self.out / "local")

    def spark(self, histories: Path, reading: ReadOptions = PLAIN) -> list[Any]:
        score_on_spark(self.options(histories, reading))
        return _users(self.out / "spark")

    def options(self, histories: Path, reading: ReadOptions) -> SparkScoreOptions:
        return SparkScoreOptions(
            model=str(self.model), histories=str(histories), out=str(self.out / "spark"), k=2,
            reading=reading, spark=SPARK,
        )  # fmt: skip

    def agree(self, histories: Path, reading: ReadOptions = PLAIN) -> list[Any]:
        found = self.spark(histories, reading)
        assert found == self.local(histories, reading)
        return found


def _users(folder: Path) -> list[Any]:
    return sorted(pd.read_parquet(folder)["user"].unique().tolist())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("spark-files")
    with tracking_store(folder, empty_database):
        taken = pd.DataFrame({"user": [1, 1, 1, 2, 2], "item": [11, 12, 13, 11, 14]})
        model = make_model("popularity", {}).fit(Interactions.from_frame(taken), FitOptions())
        for name, threshold in (("all", None), ("good", 3.5)):
            save_model(model, folder / name, data={"threshold": threshold})
        yield folder


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[Any]:
    own = SparkOptions(master="local[1]", conf={"spark.driver.memory": "700m"})
    with spark_session(own) as started:
        yield started


@pytest.fixture
def engines(models: Path, tmp_path: Path) -> Engines:
    return Engines(models / "all", tmp_path)


@pytest.fixture
def plays(tmp_path: Path) -> Path:
    folder = tmp_path / "plays"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("second", _SECOND)
def test_files_of_a_folder_have_the_same_first_line(
    second: str, engines: Engines, plays: Path
) -> None:
    (plays / "a.csv").write_text("user,item\n1,11\n")
    (plays / "b.csv").write_text(second)
    told = "first line is not that of the other files|no item column that could be recognised"
    with pytest.raises(InputError, match=told):
        engines.spark(plays)
    assert not (engines.out / "spark").exists()
    (plays / "b.csv").write_text("user,item\n2,12\n3,12\n")
    assert engines.agree(plays) == [1, 2, 3]


@pytest.mark.parametrize("name", ["h[1].csv", "x{1,2}.csv", "a?.csv", "a*.csv"])
def test_a_name_with_wildcards_is_not_taken_for_others(
    name: str, engines: Engines, plays: Path
) -> None:
    (plays / name).write_text("user,item\n1,11\n")
    (plays / "h1.csv").write_text("user,item\n2,11\n3,11\n")
    with pytest.raises(InputError, match="for a wildcard: rename it, or use --engine local"):
        engines.spark(plays / name)


def test_bytes_of_another_encoding_make_no_two_users_one(engines: Engines, plays: Path) -> None:
    path = plays / "h.csv"
    path.write_bytes("user,item\né,11\nè,12\nü,13\n".encode("latin-1"))
    with pytest.raises(InputError, match="name its --encoding"):
        engines.spark(path)
    assert engines.agree(path, LATIN) == ["è", "é", "ü"]
    with pytest.raises(InputError, match="--encoding cp1252 is none that Spark reads"):
        engines.spark(path, ReadOptions(encoding="cp1252"))


def test_names_of_folders_are_users_as_they_are_spelt(engines: Engines, plays: Path) -> None:
    for name in ("007", "7", "8"):
        (plays / f"user={name}").mkdir()
        pd.DataFrame({"item": [11, 12]}).to_parquet(plays / f"user={name}" / "a.parquet")
    assert engines.agree(plays) == ["007", "7", "8"]
    (plays / "user=007" / "a.parquet").unlink()
    (plays / "user=007").rmdir()
    assert engines.spark(plays) == [7, 8]


@pytest.mark.parametrize("name", ["all", "good"])
@pytest.mark.parametrize("rating", ["abc", "5f", "5d"])
def test_what_is_no_number_is_refused(rating: str, name: str, models: Path, plays: Path) -> None:
    engines = Engines(models / name, plays.parent)
    path = plays / "h.csv"
    path.write_text(f"user,item,rating\n1,11,5\n2,12,{rating}\n")
    with pytest.raises(InputError, match="a rating is no number"):
        engines.spark(path)
    path.write_text("user,item,rating\n1,11,+5.0e0\n2,12,NaN\n3,13,\n")
    assert engines.agree(path) == [1, 2, 3]


def test_settings_that_spark_refuses_are_named(engines: Engines, plays: Path) -> None:
    path = plays / "h.csv"
    path.write_text("user,item\n1,11\n")
    wrong = SparkOptions(conf={"spark.sql.shuffle.partitions": "abc"})
    with pytest.raises(
        InputError, match=r"--spark-conf spark\.sql\.shuffle\.partitions=abc is ref"
    ):
        score_on_spark(replace(engines.options(path, PLAIN), spark=wrong))


def test_an_earlier_result_survives_a_move_that_fails_halfway(
    engines: Engines, plays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plays / "h.csv"
    path.write_text("user,item\n1,11\n")
    engines.spark(path)
    move = Storage._move

    def halfway(self: Storage, source: str, target: str) -> None:
        if ".partial-" in source:
            Path(target).mkdir()
            (Path(target) / "part-new.parquet").write_text("half")
            raise InputError("the store is full")
        move(self, source, target)

    monkeypatch.setattr(Storage, "_move", halfway)
    path.write_text("user,item\n2,11\n")
    with pytest.raises(InputError, match="the store is full"):
        engines.spark(path)
    assert _users(engines.out / "spark") == [1]
    assert (engines.out / "spark" / MANIFEST).exists()
    assert sorted(one.name for one in engines.out.iterdir()) == ["plays", "spark"]

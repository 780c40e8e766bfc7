"""Options of Spark, and what is told where it cannot start; none of these tests starts it."""

import importlib.util
from pathlib import Path

import pytest

from recsys_vae.errors import InputError
from recsys_vae.scoring.spark.session import SparkOptions, parse_conf, spark_session
from tests.conftest import Refused


def test_settings_are_written_as_key_and_value() -> None:
    assert parse_conf(("a.b=c=d", " x = y ")) == {"a.b": "c=d", "x": "y"}
    for wrong in ("a.b", "=c"):
        with pytest.raises(InputError, match="write it as key=value"):
            parse_conf((wrong,))


def enter(options: SparkOptions) -> None:
    with spark_session(options):
        pass


def test_without_pyspark_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'recsys-vae\[spark\]'"):
        enter(SparkOptions())


@pytest.mark.skipif(not importlib.util.find_spec("pyspark"), reason="needs pyspark")
def test_without_java_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(InputError, match="needs Java 17 or newer, which was not found"):
        enter(SparkOptions())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--spark-master", "local[2]"], "--spark-master does not belong to --engine local"),
        (["--spark-conf", "a=b"], "--spark-conf does not belong to --engine local"),
        (["--engine", "spark", "--since", "lists"], "--since does not belong to --engine spark"),
        (["--histories", "s3a://bucket/h"], "lies on no disk of this machine"),
    ],
)
def test_options_of_the_other_engine_are_refused(
    given: list[str], sentence: str, refused: Refused
) -> None:
    score_them = ["score", "--model", "vae", "--histories", "ratings.csv", "--k", "3"]
    assert sentence in refused(*score_them, *given)


def test_what_mlflow_run_passes_of_the_other_engine_is_no_option_of_it(
    monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    usual = ["--explain", "0", "--unsorted", "false", "--skip-damaged", "false", "--rules", ""]
    asked = ["score", "--model", "vae", "--histories", "ratings.csv", "--k", "3", *usual]
    # The next thing is to start Spark, which is not here.
    assert "pip install 'recsys-vae[spark]'" in refused(*asked, "--engine", "spark")
    assert "--explore does not belong" in refused(*asked, "--explore", "0", "--engine", "spark")

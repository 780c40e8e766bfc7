"""Rows of a file of histories that are no interactions: refused, or passed over up to a share."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from recsys_vae.cli import cli
from recsys_vae.errors import InputError
from recsys_vae.ingest import text
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model
from tests.models.made_up import made_up

BAD = ["3,,5.0", ",4,5.0", "3,4,much", "3,4,5.0,one,too,many"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("passed-over")
    data = made_up(60, 20, 0.3, 1)
    model = make_model("ease", {"ridge": 5.0}).fit(data, FitOptions())
    save_model(model, folder / "ease", data={"threshold": 3.5})
    lines = [
        f"{user},{item},{4.5 if (user + item) % 5 else 1.0}"
        for user, item in data.frame()[["user", "item"]].itertuples(index=False, name=None)
    ]
    # A rating that is missing is not high, which was never refused.
    lines.insert(0, f"{lines[0].split(',')[0]},19,")
    (folder / "good.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    for number, line in enumerate(BAD):
        lines.insert(20 + 40 * number, line)
    (folder / "bad.csv").write_text("\n".join(["user,item,rating", *lines]) + "\n")
    return folder


def run(home: Path, verb: str, file: str, *options: str) -> Result:
    given = ["--model", str(home / "ease"), "--histories", str(home / file), "--k", "5"]
    return CliRunner().invoke(cli, [verb, *given, *options])


@pytest.mark.parametrize("more", [(), ("--unsorted", "true")])
@pytest.mark.parametrize("block_bytes", [200, 8 << 20])
def test_the_lists_are_those_of_the_other_rows(
    more: tuple[str, ...],
    block_bytes: int,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    assert run(home, "score", "good.csv", *more, "--out", str(tmp_path / "good")).exit_code == 0
    options = (*more, "--max-rejected", "0.05")
    done = run(home, "score", "bad.csv", *options, "--out", str(tmp_path / "bad"))
    assert done.exit_code == 0, done.output
    rows = len((home / "bad.csv").read_text().splitlines()) - 1
    assert f"note: 4 of {rows} rows passed over, the first: " in done.output
    assert f"{home / 'bad.csv'}, row 21: the item id is missing ('3, , 5.0')" in done.output
    frames = [
        pd.concat([pd.read_parquet(path) for path in sorted((tmp_path / name).glob("part-*"))])
        for name in ("good", "bad")
    ]
    assert frames[0]["user"].dtype == "int64"
    pd.testing.assert_frame_equal(frames[0], frames[1])
    manifest = json.loads((tmp_path / "bad" / "_manifest.json").read_text())
    assert manifest["passed_over"] == {
        "the item id is missing": 1,
        "the user id is missing": 1,
        "the rating is no number": 1,
        "6 columns instead of 3": 1,
    }
    assert json.loads((tmp_path / "good" / "_manifest.json").read_text())["passed_over"] == {}


def test_recommend_passes_over_them_too(home: Path) -> None:
    assert isinstance(run(home, "recommend", "bad.csv").exception, InputError)
    done = run(home, "recommend", "bad.csv", "--max-rejected", "0.05")
    assert done.exit_code == 0, done.output
    assert "rows passed over, the first: " in done.output


@pytest.mark.parametrize(
    ("share", "said"),
    [
        ("0", "row 21: the item id is missing ('3, , 5.0'): correct the row or delete it"),
        ("0.0001", "pass a larger --max-rejected"),
        ("2", "--max-rejected 2.0 must lie between 0 and 1"),
    ],
)
def test_too_many_are_refused_before_anything_is_written(
    share: str, said: str, home: Path, tmp_path: Path
) -> None:
    done = run(home, "score", "bad.csv", "--max-rejected", share, "--out", str(tmp_path / "out"))
    assert isinstance(done.exception, InputError), done.output
    assert said in str(done.exception)
    assert not list(tmp_path.glob("out/*"))


def test_spark_does_not_know_the_option(home: Path, tmp_path: Path) -> None:
    options = ("--engine", "spark", "--max-rejected", "0.1", "--out", str(tmp_path / "out"))
    done = run(home, "score", "bad.csv", *options)
    assert isinstance(done.exception, InputError)
    assert "--max-rejected" in str(done.exception)

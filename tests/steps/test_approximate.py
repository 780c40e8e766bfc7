"""recommend and score with approximate lists, from the command line."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from recsys_vae.cli import cli
from recsys_vae.errors import InputError
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model, save_model
from recsys_vae.scoring.workplace import MANIFEST
from tests.models.made_up import made_up

pytestmark = pytest.mark.skipif(
    find_spec("faiss") is None, reason="faiss, an extra of this package, is not installed"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    data = made_up(80, 400, 0.05, 1)
    model = make_model("als", {"factors": 8}).fit(data, FitOptions(device="cpu"))
    save_model(model, folder / "model")
    users, items = data.matrix.nonzero()
    pd.DataFrame({"user": users, "item": items}).to_csv(folder / "histories.csv", index=False)
    return folder


def run(home: Path, verb: str, *options: str) -> str:
    given = ["--model", str(home / "model"), "--histories", str(home / "histories.csv")]
    done = CliRunner().invoke(cli, [verb, *given, "--k", "10", *options])
    return done.output + (str(done.exception) if isinstance(done.exception, InputError) else "")


def test_score_says_how_much_is_found_and_goes_on_with_the_same_option(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys_vae.scoring import batch

    def manifest(*options: str) -> Any:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert "written" in run(home, "score", *options, "--out", str(out))
        return json.loads((out / MANIFEST).read_text())

    every = manifest("--approximate", "ivf:400", "--approximate-recall", "1")
    assert every["approximate"] == "ivf:400"
    assert every["approximate_recall"] == 1
    assert manifest()["approximate_recall"] is None
    one = manifest("--approximate", "ivf:1", "--users-per-block", "16")
    assert one["counts"]["compared"] == 16
    assert one["approximate_recall"] == one["counts"]["shares"] / 16 < 1
    floor = ("--approximate", "ivf:1", "--approximate-recall", "1", "--out", str(tmp_path / "x"))
    assert "look into more cells, such as ivf:2" in run(home, "score", *floor)
    assert not (tmp_path / "x").exists()

    whole = batch._Work._one_part

    def second_fails(self: Any, part: Any, number: int) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return whole(self, part, number)

    size = ("--users-per-part", "16", "--users-per-block", "16", "--approximate", "ivf:1")
    with monkeypatch.context() as patch:
        patch.setattr(batch._Work, "_one_part", second_fails)
        run(home, "score", *size, "--out", str(tmp_path / "cut"))
    assert "begun with different approximate" in run(
        home, "score", *size, "--approximate", "ivf:2", "--out", str(tmp_path / "cut")
    )
    assert "asks for 100.0%" in run(
        home, "score", *size, "--approximate-recall", "1", "--out", str(tmp_path / "cut")
    )
    assert "compared for 16 users" in run(home, "score", *size, "--out", str(tmp_path / "cut"))
    assert (
        json.loads((tmp_path / "cut" / MANIFEST).read_text())["approximate_recall"]
        == (one["approximate_recall"])
    )


def test_recommend_finds_and_compares_too(home: Path) -> None:
    shown = run(home, "recommend", "--first", "5", "--approximate", "ivf:400")
    assert "approximate lists hold 100.0% of what the exact ones do, compared for 5 users" in shown
    assert "approximate" not in run(home, "recommend", "--first", "5")

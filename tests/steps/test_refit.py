"""refit: what validation chose, fitted to everybody; nobody is left to judge it."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from recsys_vae.cli import cli
from recsys_vae.errors import InputError
from recsys_vae.interactions import load_interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import (
    load_model,
    make_model,
    model_fingerprint,
    save_model,
    trained_on,
)
from recsys_vae.tracking.registry import log_model, model_folder, register
from recsys_vae.tracking.runs import step_run
from tests.models.made_up import made_up

RECIPES = {
    "ease": "model = 'ease'\n",
    "linear-vae": "model = 'linear-vae'\nhidden = [16]\nlatent = 8\n[training]\nepochs = 6\n"
    "validate_every = 1\npatience = 2\n",
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refit")
    frame = made_up(300, 40, 0.25, 2).frame()[["user", "item"]]
    frame.to_csv(folder / "plays.csv", index=False)
    done("ingest", "--data", folder / "plays.csv", "--out", folder / "data")
    done("split", "--data", folder / "data", "--held-out-users", "50", "--out", folder / "split")
    for name, text in RECIPES.items():
        (folder / f"{name}.toml").write_text(text)
        done("train", "--split", folder / "split", "--recipe", folder / f"{name}.toml", "--seed",
             "3", "--out", folder / name)  # fmt: skip
    return folder


def refitted(home: Path, name: str, out: Path) -> Path:
    said = done("refit", "--model", home / name, "--data", home / "data", "--out", out)
    assert f"{name}: fitted to all 295 users" in said
    return out


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_it_is_a_fit_of_the_chosen_settings_to_all_users(
    name: str, home: Path, tmp_path: Path
) -> None:
    again = load_model(refitted(home, name, tmp_path / "again"))
    chosen = json.loads((home / name / "model.json").read_text())["data"]["settled"]
    everybody = load_interactions(home / "data" / "interactions")
    options = FitOptions(seed=3, device="auto")
    expected = make_model(name, chosen).fit(everybody, options)
    given = everybody.matrix[:20]
    assert np.array_equal(again.score(given), expected.score(given))
    assert again.config == expected.config
    assert trained_on(tmp_path / "again") == everybody.fingerprint
    assert not (tmp_path / "again.unfinished").exists()
    if name == "ease":
        assert chosen["ridge"] is not None
        return
    assert chosen["training"]["epochs"] <= 6
    assert chosen["training"]["patience"] == 0
    assert chosen["ridge"] is not None
    assert chosen["gate"] is not None


def test_what_was_fitted_to_the_held_out_items_is_not_judged_by_them(
    home: Path, tmp_path: Path
) -> None:
    again = refitted(home, "ease", tmp_path / "again")
    result = run("evaluate", "--split", home / "split", "--model", again, "--out", tmp_path / "e")
    assert isinstance(result.exception, InputError)
    assert "'ease' was fitted to everything that this split was made of" in str(result.exception)
    assert not (tmp_path / "e").exists()
    with step_run("by-hand"):
        register(log_model(load_model(again), again), "by-hand")
    refused = run("promote", "--split", home / "split", "--name", "by-hand")
    assert isinstance(refused.exception, InputError)
    assert "(@challenger) was fitted to everything" in str(refused.exception)
    # Others may judge it.
    done("split", "--data", home / "data", "--held-out-users", "50", "--out", tmp_path / "other")
    more = pd.read_csv(home / "plays.csv").assign(user=lambda frame: frame["user"] + 1000)
    more.to_csv(tmp_path / "later.csv", index=False)
    done("ingest", "--data", tmp_path / "later.csv", "--out", tmp_path / "later")
    done("split", "--data", tmp_path / "later", "--held-out-users", "50", "--out", tmp_path / "new")
    done("evaluate", "--split", tmp_path / "new", "--model", again, "--out", tmp_path / "e")


def test_the_run_says_what_was_fitted_to_what(home: Path, tmp_path: Path) -> None:
    refitted(home, "ease", tmp_path / "again")
    (found,) = mlflow.search_runs(
        search_all_experiments=True, filter_string="tags.`recsys_vae.step` = 'refit'",
        max_results=1, output_format="list",
    )  # fmt: skip
    assert found.data.params["fit.of"] == str(home / "ease")
    assert found.data.params["fit.seed"] == "3"
    assert float(found.data.params["model.ridge"]) > 0
    assert found.data.metrics["fit_seconds"] > 0


def test_what_does_not_belong_together_is_refused(home: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())

    def refused(model: Path, data: Path, out: Path) -> str:
        result = run("refit", "--model", model, "--data", data, "--out", out)
        assert isinstance(result.exception, InputError), result.exception
        return str(result.exception)

    assert "choose another --out" in refused(home / "ease", home / "data", home / "ease")
    assert "is not a model" in refused(home / "data", home / "data", tmp_path / "x")
    assert "is not a folder of interactions" in refused(
        home / "ease", home / "split", tmp_path / "x"
    )
    old = make_model("ease", {"ridge": 5.0}).fit(made_up(30, 12, 0.3, 0), FitOptions())
    save_model(old, home / "old")
    assert "an earlier version wrote it" in refused(home / "old", home / "data", tmp_path / "x")
    rows = pd.read_csv(home / "plays.csv").assign(rating=5)
    rows.to_csv(home / "stars.csv", index=False)
    done("ingest", "--data", home / "stars.csv", "--out", home / "stars")
    told = refused(home / "ease", home / "stars", tmp_path / "x")
    assert "counts ratings above 3.5 and the model was chosen for those above None" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_whole_line_scores_with_the_refitted_model(home: Path, tmp_path: Path) -> None:
    line = ("main", "--data", home / "plays.csv", "--recipes", home / "ease.toml",
            "--held-out-users", "50", "--register", "line", "--out", tmp_path / "all")  # fmt: skip
    first = done(*line)
    lists = tmp_path / "all" / "lists" / "all-users"
    plain = json.loads((lists / "_manifest.json").read_text())
    said = done(*line, "--refit")
    assert "fitted again to all users" in said
    assert "fitted again" not in first
    manifest = json.loads((lists / "_manifest.json").read_text())
    assert manifest["model_uri"] == str(tmp_path / "all" / "refitted")
    assert manifest["model_fingerprint"] != plain["model_fingerprint"]
    assert (
        trained_on(tmp_path / "all" / "refitted")
        == load_interactions(tmp_path / "all" / "data" / "interactions").fingerprint
    )
    again = CliRunner().invoke(cli, [str(one) for one in (*line, "--refit")])
    assert "Not done again, because nothing changed" in again.output
    assert ", refit, score" in again.output
    # The judged model is what is registered.
    registered = model_fingerprint(model_folder("models:/line@challenger"))
    assert registered == model_fingerprint(tmp_path / "all" / "models" / "ease")

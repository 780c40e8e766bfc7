"""reproduce: identical bits, and in what a repetition differs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.models.zoo import ZOO
from recsys_vae.steps import rebuilding
from recsys_vae.steps.rebuilding import FILE
from recsys_vae.steps.reproduce import Reproduced, ReproduceOptions, reproduce
from tests.conftest import made_up_ratings, tracking_store

VAE = 'model = "mult-vae"\nhidden = [8]\nlatent = 2\n[training]\nepochs = 3\n'


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reproduce")
    with tracking_store(folder, empty_database):
        made_up_ratings(60, 20).to_csv("ratings.csv", index=False)
        Path("vae.toml").write_text(VAE)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--out", "split"])
        main(["split", "--data", "data", "--split-seed", "1", "--out", "other"])
        main(["train", "--split", "split", "--recipe", "vae.toml", "--seed", "5", "--out", "vae"])
        main(["evaluate", "--split", "split", "--model", "vae", "--metrics", "all", "--out", "ev"])
        yield folder


def last_run(step: str, model: str = "mult-vae") -> str:
    """The last run of a step that did what it wrote down."""
    asked = f"tags.`recsys_vae.step` = '{step}'"
    if step == "train":
        asked += f" and tags.`recsys_vae.model` = '{model}'"
    if step == "train" and model == "mult-vae":
        asked += " and params.`fit.seed` = '5'"  # not the one within `main`
    found = mlflow.search_runs(filter_string=asked, order_by=["start_time desc"])
    if "tags.made_up" in found:
        found = found[found["tags.made_up"].isna()]
    return str(found["run_id"].iloc[0])


def again(step: str, **options: Any) -> Reproduced:
    return reproduce(ReproduceOptions(run=last_run(step), **options))


def changed(done: Reproduced) -> dict[str, tuple[str, str]]:
    return {one.what: (one.then, one.now) for one in done.circumstances}


def test_a_training_is_identical_in_every_epoch_and_weight() -> None:
    done = again("train")
    # Three epochs of loss, reconstruction, KL and validation; the end; the weights.
    assert done.compared == 3 * 4 + 2
    assert (done.identical, done.circumstances) == (True, [])


@pytest.mark.parametrize("model", ["als", "item-knn", "bpr"])
def test_settings_chosen_on_validation_are_chosen_again(model: str) -> None:
    main(["train", "--split", "split", "--recipe", model, "--out", f"model-{model}"])
    done = reproduce(ReproduceOptions(run=last_run("train", model)))
    assert (done.identical, done.circumstances) == (True, [])


def test_an_evaluation_is_identical() -> None:
    done = again("evaluate")
    assert done.compared > 20
    assert (done.identical, done.circumstances) == (True, [])


def test_a_run_of_main_trains_and_evaluates_again(capsys: pytest.CaptureFixture[str]) -> None:
    main(["main", "--data", "ratings.csv", "--recipes", "vae.toml,popularity", "--out", "whole"])
    capsys.readouterr()
    main(["reproduce", last_run("main")])
    said = capsys.readouterr()
    assert said.err.split("\n")[:3] == [
        "train mult-vae", "train popularity", "evaluate on test"
    ]  # fmt: skip
    assert said.out.strip().endswith("numbers compared: identical")


def test_other_data_are_refused_by_fingerprint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", last_run("train"), "--split", "other"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the data differ: 'train' of split other has fingerprint " in said


def test_a_split_that_has_moved_is_asked_for() -> None:
    Path("split").rename("moved")
    try:
        with pytest.raises(InputError, match=r"the split of .* is not in .*: say with --split"):
            again("train")
        assert again("train", split=Path("moved")).identical
    finally:
        Path("moved").rename("split")


def test_other_threads_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    then = notes_of(last_run("train"))["surroundings"]["threads"]
    main(["reproduce", "--run", last_run("train"), "--threads", str(then + 1)])
    assert changed(again("train", threads=then + 1))["threads"] == (str(then), str(then + 1))
    assert "threads" in capsys.readouterr().out


def test_other_versions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    version = rebuilding._version
    monkeypatch.setattr(
        rebuilding, "_version", lambda name: "9.9" if name == "scipy" else version(name)
    )
    monkeypatch.setattr(rebuilding, "__version__", "9.9.9")
    monkeypatch.setattr(rebuilding, "program_sum", lambda: "other source")
    done = again("train")
    assert changed(done)["library scipy"] == (version("scipy"), "9.9")
    assert changed(done)["package"][1] == "9.9.9"
    assert changed(done)["program"][1] == "other source"
    assert done.identical


def test_numbers_that_differ_are_told_with_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = notes_of(last_run("train"))
    before = notes["results"]["epoch 2 loss"]
    notes["results"]["epoch 2 loss"] = 1.0
    notes["config"]["dropout"] = 0.25
    run = written(notes)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", run])
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "Numbers that differ" in said
    assert "saved model" in said
    done = reproduce(ReproduceOptions(run=run))
    results = {one.what: (one.then, one.now) for one in done.results}
    assert results["epoch 2 loss"][0] == "1"
    assert results["epoch 2 loss"][1] != repr(before)
    frame = mlflow.artifacts.load_dict(f"runs:/{last_run('reproduce')}/differences.json")
    assert frame["columns"] == ["of", "what", "then", "now"]


def test_a_setting_with_another_default_is_told() -> None:
    notes = notes_of(last_run("train"))
    del notes["config"]["training"]["validate_every"]
    done = reproduce(ReproduceOptions(run=written(notes)))
    assert changed(done)["setting training.validate_every"] == ("absent", "1")
    assert done.identical


def test_a_model_that_is_not_the_one_is_refused() -> None:
    notes = notes_of(last_run("evaluate"))
    notes["models"][0]["fingerprint"] = "0" * 64
    with pytest.raises(InputError, match=r"vae is not the model 'mult-vae' that MLflow run"):
        reproduce(ReproduceOptions(run=written(notes)))


def test_a_model_that_is_gone_is_named() -> None:
    notes = notes_of(last_run("evaluate"))
    notes["models"][0]["reference"] = "gone"
    with pytest.raises(InputError, match=r"the model gone that MLflow run .* evaluated is gone"):
        reproduce(ReproduceOptions(run=written(notes)))


def test_a_setting_that_is_no_more_is_named() -> None:
    notes = notes_of(last_run("train"))
    notes["config"]["depth"] = 3
    with pytest.raises(InputError, match=r"cannot be rebuilt: model 'mult-vae', setting 'depth'"):
        reproduce(ReproduceOptions(run=written(notes)))


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("somewhere", "somewhere is no id of an MLflow run"),
        ("0" * 32, "there is no MLflow run 0000"),
    ],
)
def test_what_is_no_run_is_refused(run: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        reproduce(ReproduceOptions(run=run))


def test_steps_that_neither_train_nor_evaluate_are_refused() -> None:
    with pytest.raises(InputError, match="has neither trained nor evaluated a model"):
        again("split")


def test_notes_of_another_version_are_refused() -> None:
    with pytest.raises(InputError, match=r"its rebuild.json is of another version"):
        reproduce(ReproduceOptions(run=written({"step": "train"})))


def test_the_training_seeds_matter() -> None:
    notes = notes_of(last_run("train"))
    notes["seed"] += 1
    assert not reproduce(ReproduceOptions(run=written(notes))).identical


def notes_of(run: str) -> dict[str, Any]:
    notes = mlflow.artifacts.load_dict(f"runs:/{run}/{FILE}")
    assert notes["model"] in ZOO if notes["step"] == "train" else notes["models"]
    return dict(json.loads(json.dumps(notes)))


def written(notes: dict[str, Any]) -> str:
    """A run that wrote such notes down."""
    tags = {"recsys_vae.step": notes["step"], "made_up": "true"}
    with mlflow.start_run(tags=tags) as run:
        mlflow.log_dict(notes, FILE)
    return str(run.info.run_id)

"""Leaderboards: chosen on validation, stopped and continued, refused where they do not fit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.steps.leaderboard import LeaderboardOptions, leaderboard
from tests.conftest import made_up_ratings, tracking_store

pytestmark = pytest.mark.usefixtures("unbroken")

VAE = """
model = "mult-vae"
hidden = [8]
latent = 2
seeds = [0, 1]
[training]
epochs = 2
[[candidates]]
dropout = 0.2
[[candidates]]
dropout = 0.5
training = { learning_rate = 0.01 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("leaderboard")
    with tracking_store(folder, empty_database):
        made_up_ratings(60, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--held-out-users", "10", "--out", "strong"])
        weak = ["--kind", "random", "--validation-share", "0.2", "--out", "weak"]
        main(["split", "--data", "data", *weak])
        Path("recipes").mkdir()
        Path("recipes/vae.toml").write_text(VAE)
        Path("recipes/popular.toml").write_text('model = "popularity"')
        Path("recipes/knn.toml").write_text('model = "item-knn"')
        yield folder


def options(out: str, split: str = "weak", **others: Any) -> LeaderboardOptions:
    chosen = {"recipes": ("recipes",), "metrics": ("all",), "choose_by": "ndcg@10"}
    return LeaderboardOptions(split=Path(split), out=Path(out), **{**chosen, **others})


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> pd.DataFrame:
    done = leaderboard(options("whole"))
    assert (folder / "whole/evaluation/per_user.parquet").is_file()
    return done.leaderboard


def test_every_recipe_has_a_row_a_metric_and_seeds_are_one_model(unbroken: pd.DataFrame) -> None:
    models = unbroken.set_index("model")["seeds"]
    assert {name: int(models[name].iloc[0]) for name in set(models.index)} == {
        "vae": 2, "popular": 1, "knn": 1
    }  # fmt: skip
    assert unbroken.groupby("model").size().nunique() == 1
    assert {"recall@20", "ndcg@100", "coverage@50", "diversity@10"} <= set(unbroken["metric"])
    assert unbroken[unbroken["metric"] == "ndcg@10"]["best"].sum() == 1


def test_what_is_there_is_not_done_again(unbroken: pd.DataFrame) -> None:
    said: list[str] = []
    before = {one: one.stat().st_mtime_ns for one in Path("whole/fits").rglob("*")}
    again = leaderboard(options("whole"), said.append)
    assert not [line for line in said if "fit with" in line or "candidate" in line]
    assert {one: one.stat().st_mtime_ns for one in Path("whole/fits").rglob("*")} == before
    pd.testing.assert_frame_equal(again.leaderboard, unbroken)


@pytest.mark.parametrize("stop_at", range(0, 12, 2))
def test_stopped_anywhere_it_goes_on_to_the_same_table(
    unbroken: pd.DataFrame, stop_at: int
) -> None:
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if len(said) > stop_at:
            raise KeyboardInterrupt

    out = f"stopped-{stop_at}"
    with pytest.raises(KeyboardInterrupt):
        leaderboard(options(out), stop)
    done = leaderboard(options(out))
    pd.testing.assert_frame_equal(done.leaderboard, unbroken)
    assert list(Path(out).rglob("unfinished*")) == []


def test_the_table_says_what_is_needed_to_repeat_it() -> None:
    leaderboard(options("whole", table=Path("table.md")))
    text = Path("table.md").read_text("utf-8")
    for word in ("| vae | 2 |", "weak generalization", "torch", "dropout", "candidates", "Holm"):
        assert word in text


def test_other_metrics_need_no_other_fit() -> None:
    said: list[str] = []
    done = leaderboard(options("whole", metrics=("map@5", "ndcg@10")), said.append)
    assert set(done.leaderboard["metric"]) == {"map@5", "ndcg@10"}
    assert not [line for line in said if "fit with" in line]


def test_another_split_or_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="holds results of another 'train'"):
        leaderboard(options("whole", split="strong"))
    changed = VAE.replace("hidden = [8]", "hidden = [9]")
    Path("changed").mkdir(exist_ok=True)
    Path("changed/vae.toml").write_text(changed)
    with pytest.raises(InputError, match="made with other settings than recipe vae"):
        leaderboard(options("whole", recipes=("changed",)))


def test_longer_lists_than_were_kept_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_vae.steps.leaderboard_fits.ALL_LENGTHS", (3, 5))
    short = replace(
        options("longer", choose_by="ndcg@3"), recipes=("popularity",), metrics=("ndcg@3",)
    )
    leaderboard(short)
    said: list[str] = []
    leaderboard(replace(short, metrics=("ndcg@3", "recall@10")), said.append)
    assert [line for line in said if "fit with" in line]


SEARCHED = """
model = "ease"
ridge = 50.0
[search]
ridge = {low = 1.0, high = 1000.0, log = true}
"""


def test_every_model_has_as_many_candidates() -> None:
    Path("equal").mkdir(exist_ok=True)
    Path("equal/ease.toml").write_text(SEARCHED)
    Path("equal/vae.toml").write_text(VAE + "[search]\nlatent = {low = 1, high = 4}\n")
    Path("equal/popular.toml").write_text('model = "popularity"')
    said: list[str] = []
    asked = options("equal-out", recipes=("equal",), trials=3, table=Path("equal.md"))
    leaderboard(asked, said.append)
    tried = {name: sum(f"{name}: candidate" in line for line in said) for name in ("ease", "vae")}
    assert tried == {"ease": 3, "vae": 3}
    assert "ease: candidate 1" in said  # its own settings come first
    rows = Path("equal.md").read_text("utf-8").splitlines()
    assert [row.split(" | ")[3] for row in rows if row.startswith("| ease | 0")] == ["3"]
    # More of them go on where fewer ended; of what is there already nothing is left out.
    said.clear()
    leaderboard(replace(asked, trials=4), said.append)
    assert sum(": candidate" in line for line in said) == 2
    said.clear()
    leaderboard(replace(asked, trials=4, budget=1e-9), said.append)
    assert not [line for line in said if ": candidate" in line or "left out" in line]


def test_a_budget_ends_the_choice_but_never_before_the_first() -> None:
    Path("brief").mkdir(exist_ok=True)
    Path("brief/ease.toml").write_text(SEARCHED)
    said: list[str] = []
    leaderboard(options("brief-out", recipes=("brief",), trials=4, budget=1e-9), said.append)
    assert sum(": candidate" in line for line in said) == 1
    assert "ease: 3 candidates left out, the budget is used up" in said


def test_damaged_lists_are_named() -> None:
    leaderboard(options("damaged", recipes=("popularity",)))
    path = Path("damaged/fits/popularity/seed-0.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=f"{path} is damaged"):
        leaderboard(options("damaged", recipes=("popularity",)))


def test_strong_generalization_learns_from_the_training_users_alone() -> None:
    done = leaderboard(options("strong-out", split="strong", metrics=("ndcg@10",)))
    assert set(done.leaderboard["model"]) == {"vae", "popular", "knn"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipes", "nothing"], "there is no model 'nothing'"),
        (["--recipes", "popularity", "--metrics", "fame@10"], "there is no metric 'fame@10'"),
        (["--recipes", "popularity", "--sort-by", "map@7"], "--sort-by map@7 is not among"),
        (["--recipes", "popularity,popularity"], "names popularity twice"),
        (["--recipes", "twice.toml"], "'seeds' must be distinct whole numbers"),
        (["--recipes", "list.toml"], "'candidates' must be tables"),
        (["--recipes", "wrong.toml"], "setting 'latent'"),
        (["--recipes", "empty"], "--recipes names no recipe"),
    ],
)
def test_wrong_options_are_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("twice.toml").write_text('model = "popularity"\nseeds = [1, 1]')
    Path("list.toml").write_text('model = "popularity"\ncandidates = [1]')
    Path("wrong.toml").write_text('model = "mult-vae"\n[[candidates]]\nlatent = -1')
    Path("empty").mkdir(exist_ok=True)
    with pytest.raises(SystemExit) as stopped:
        main(["leaderboard", "--split", "weak", *arguments, "--out", "refused"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("refused").exists()


def test_evaluations_are_compared_by_folder_and_by_run(capsys: pytest.CaptureFixture[str]) -> None:
    import mlflow

    main(["train", "--split", "strong", "--recipe", "popularity", "--out", "popular"])
    main(["train", "--split", "strong", "--recipe", "item-knn", "--out", "knn"])
    for name in ("popular", "knn"):
        main(["evaluate", "--split", "strong", "--model", name, "--out", f"judged-{name}"])
    run = mlflow.search_runs(
        filter_string="tags.`recsys_vae.step` = 'evaluate'", order_by=["start_time desc"]
    )
    capsys.readouterr()
    main(["compare", "judged-popular", run["run_id"].iloc[0], "--by", "recall@20", "--out", "cmp"])
    shown = capsys.readouterr().out
    assert "Recall@20 against" in shown
    assert set(pd.read_csv("cmp/leaderboard.csv")["model"]) == {"popularity", "item-knn"}
    assert len(pd.read_csv("cmp/pairs.csv")) == 3  # one pair, three metrics
    # The same evaluation twice is one.
    main(["compare", "judged-popular", "judged-popular"])
    capsys.readouterr()
    for wrong, message in (
        (["judged-knn", "whole/evaluation"], "judged different users or held-out items"),
        (["nowhere"], "neither a folder"),
        (["0" * 32], "there is no MLflow run"),
        (["data"], "is not an evaluation"),
        ([], "compare needs evaluations"),
        (["judged-knn", "--by", "map@9"], "--by map@9 is not among the metrics"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["compare", *wrong])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_parts_are_judged_apart() -> None:
    main(["train", "--split", "strong", "--recipe", "popularity", "--out", "popular"])
    Path("ages.csv").write_text(
        "userId,age\n" + "\n".join(f"{n},{'young' if n % 2 else 'old'}" for n in range(60))
    )
    by = "activity,popularity,ages.csv:age"
    arguments = ["--model", "popular", "--by", by, "--out", "parts"]
    main(["evaluate", "--split", "strong", *arguments])
    table = pd.read_csv("parts/segments.csv")
    assert set(table["by"]) == {"activity", "popularity", "age"}
    assert set(table[table["by"] == "age"]["segment"]) == {"old", "young"}
    judged = table[(table["by"] == "age") & (table["metric"] == "ndcg@100")]["users"].sum()
    assert judged == 10


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("fame", "neither activity nor popularity nor FILE:COLUMN"),
        ("nowhere.csv:age", "nowhere.csv does not exist"),
        ("ratings.csv:age", "has no column 'age'"),
        ("odd.csv:x", "has no column of users or items"),
    ],
)
def test_parts_that_are_none_are_one_sentence(
    by: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("odd.csv").write_text("a,x\n1,2\n")
    main(["train", "--split", "strong", "--recipe", "popularity", "--out", "popular"])
    capsys.readouterr()
    arguments = ["--split", "strong", "--model", "popular", "--by", by, "--out", "none"]
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("none").exists()

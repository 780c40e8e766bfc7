"""Evaluations that are compared: which fits are one model, and what is damaged."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.evaluation.comparison import Entry
from recsys_vae.steps.judged import first_choice, read_entries
from tests.conftest import made_up_ratings, tracking_store


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("judged")
    with tracking_store(folder, empty_database):
        made_up_ratings(60, 20).to_csv("ratings.csv", index=False)
        main(["ingest", "--data", "ratings.csv", "--out", "data"])
        main(["split", "--data", "data", "--held-out-users", "10", "--out", "strong"])
        main(["train", "--split", "strong", "--recipe", "popularity", "--out", "popular"])
        main(["train", "--split", "strong", "--recipe", "item-knn", "--out", "knn"])
        shutil.copytree("popular", "other (1) + more")
        judge("popular,knn", "whole", "--metrics", "ndcg@10,coverage@10")
        yield folder


def judge(models: str, out: str, *more: str) -> None:
    main(["evaluate", "--split", "strong", "--model", models, "--out", out, *more])


def changed_users(
    folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "changed"
) -> Path:
    copy = folder.parent / name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    path = copy / "per_user.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    return copy


def test_fits_of_one_seed_that_differ_are_models_of_their_own() -> None:
    def better(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{"ndcg@10": frame["ndcg@10"] + 0.1})

    other = changed_users(Path("whole"), better)
    both = read_entries([("whole", Path("whole")), ("changed", other)])
    assert [one.label for one in both] == [
        "popularity whole", "popularity changed", "item-knn whole", "item-knn changed"
    ]  # fmt: skip
    twice = read_entries([("whole", Path("whole")), ("again", Path("whole"))])
    assert [one.label for one in twice] == ["popularity", "item-knn"]


def test_fits_to_other_data_are_models_of_their_own_whatever_their_seed() -> None:
    def of(train: str | None, seed: int) -> Path:
        copy = changed_users(Path("whole"), lambda frame: frame, f"of-{train}-{seed}")
        manifest = json.loads((copy / "evaluation.json").read_text())
        assert len(manifest["models"][0]["train"]) == 64
        for one in manifest["models"]:
            one |= {"train": train, "seed": seed}
        (copy / "evaluation.json").write_text(json.dumps(manifest))
        return copy

    read = read_entries([(str(one), one) for one in (of("a", 0), of("a", 1), of("b", 2))])
    assert [one.seeds for one in read if "popularity" in one.label] == [(0, 1), (2,)]


def test_a_description_begins_with_the_best_whichever_way_that_is() -> None:
    judge("popular,knn", "way", "--metrics", "popularity@5")
    frame = pd.read_csv("way/metrics.csv").set_index("model")["mean"]
    run = mlflow.search_runs(filter_string="tags.`recsys_vae.step` = 'evaluate'", max_results=1)
    note = str(run["tags.mlflow.note.content"].iloc[0])
    assert note.split(": ")[1].startswith(str(frame.idxmin()))
    assert frame.idxmin() != frame.idxmax()


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.iloc[:-3],
        lambda frame: frame.iloc[:-3].iloc[3:],
        lambda frame: pd.concat([frame, frame]),
        lambda frame: pd.concat([frame.iloc[:10][::-1], frame.iloc[10:]]),
        lambda frame: frame.assign(**{"ndcg@10": "much"}),
        lambda frame: frame.assign(**{"ndcg@10": np.inf}),
        lambda frame: frame.assign(fame=1.0),
        lambda frame: frame.drop(columns="user"),
    ],
)
def test_damaged_users_are_one_sentence(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    with pytest.raises(InputError, match=r"^damaged is damaged"):
        read_entries([("damaged", changed_users(Path("whole"), change, "damaged"))])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", [1]), ("seed", "0"), ("config", "x"), ("config", None), ("model", ["a"]),
        ("group", 3), ("overall", {"coverage@10": "x"}), ("overall", []), ("label", "item-knn"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_one_sentence(name: str, value: Any) -> None:
    path = changed_users(Path("whole"), lambda frame: frame, "edited") / "evaluation.json"
    found = json.loads(path.read_text())
    found["models"][0][name] = value
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match=r"^edited is damaged"):
        read_entries([("edited", path.parent)])
    path.write_text(json.dumps(found | {"models": []}))
    with pytest.raises(InputError, match="it holds no model"):
        read_entries([("edited", path.parent)])


def test_users_in_another_order_are_not_paired() -> None:
    turned = changed_users(Path("whole"), lambda frame: frame.iloc[::-1], "turned")
    with pytest.raises(InputError, match="turned is damaged"):
        read_entries([("whole", Path("whole")), ("turned", turned)])


def test_measures_of_all_lists_alone_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    judge("popular,knn", "covered", "--metrics", "coverage@10")
    main(["compare", "covered", "--out", "cmp"])
    assert "Coverage@10" in capsys.readouterr().out
    assert len(pd.read_csv("cmp/leaderboard.csv")) == 2


def test_a_model_that_is_named_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        judge("popular,popular", "twice")
    assert stopped.value.code == 2
    assert "--model names popular twice" in capsys.readouterr().err
    assert not Path("twice").exists()


def test_any_path_can_be_named_in_mlflow() -> None:
    judge("popular,other (1) + more,knn/../popular", "named", "--metrics", "ndcg@10")
    run = mlflow.search_runs(
        filter_string="tags.`recsys_vae.step` = 'evaluate'", order_by=["start_time desc"]
    ).iloc[0]
    assert run["status"] == "FINISHED"
    assert run["metrics.popularity other _1_ _ more_ndcg_at_10"] > 0


@pytest.mark.parametrize(
    ("metrics", "chosen"),
    [
        (["recall@20", "ndcg@10", "ndcg@100"], "ndcg@100"),
        (["recall@20", "ndcg@10", "ndcg@20"], "ndcg@10"),
        (["recall@20", "map@10"], "map@10"),
    ],
)
def test_a_comparison_is_sorted_by_what_trainings_choose_by(
    metrics: list[str], chosen: str
) -> None:
    entry = Entry("one", (0,), {name: np.zeros((1, 3)) for name in metrics}, {})
    assert first_choice([entry]) == chosen

"""Studies: repeatable, resumable, shared."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recsys_vae.errors import InputError
from recsys_vae.steps.search import Label, parse_search
from recsys_vae.steps.study import Study
from recsys_vae.tracking.trials import TrialRecord

SPACE = parse_search(
    {"width": {"low": 1, "high": 100, "log": True}, "shape": [[1], [1, 2]]}, "a.toml"
)
START: dict[str, Label] = {"width": 50, "shape": "[1]"}


def opened(folder: Path, name: str = "one", seed: int = 0) -> Study:
    lock = folder / "lock"
    return Study.open(f"sqlite:///{folder}/s.db", name, space=SPACE, lock=lock, seed=seed)


def metric(values: dict[str, Any]) -> float:
    return float(-abs(values["width"] - 20) - len(values["shape"]))


def searched(study: Study, most: int) -> None:
    while (trial := study.begin(most)) is not None:
        study.finish(trial, metric(trial.values))


def tried(study: Study) -> list[tuple[Any, ...]]:
    table = study.table()
    kept = table[~table["why"].str.contains("died")]
    return [tuple(row) for row in kept[["width", "shape", "metric"]].to_numpy().tolist()]


def test_the_recipe_is_tried_first_and_the_best_is_found(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.claim({}, START)
    searched(study, 6)
    table = study.table()
    assert list(table.loc[0, ["width", "shape"]]) == [50, "[1]"]
    assert study.counts() == {"finished": 6, "pruned": 0, "failed": 0}
    best = study.best()
    assert best is not None
    assert best.metric == table["metric"].max() == metric(best.values)
    assert set(study.importances()) == {"width", "shape"}


def test_the_same_seed_gives_the_same_trials(tmp_path: Path) -> None:
    found = []
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        study = opened(tmp_path, name, seed)
        study.claim({}, START)
        searched(study, 8)
        found.append(tried(study))
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("killed_at", [0, 6])
def test_a_killed_search_ends_like_the_unbroken_one(tmp_path: Path, killed_at: int) -> None:
    unbroken = opened(tmp_path, "unbroken")
    unbroken.claim({}, START)
    searched(unbroken, 8)
    killed = opened(tmp_path, "killed")
    killed.claim({}, START)
    searched(killed, killed_at)
    begun = killed.begin(8)
    assert begun is not None
    again = opened(tmp_path, "killed")
    again.claim({}, START)
    assert again.revive() == 1
    assert again.ended() == killed_at
    repeated = again.begin(8)
    assert repeated is not None
    assert (repeated.root, repeated.values) == (begun.number, begun.values)
    again.finish(repeated, metric(repeated.values))
    searched(again, 8)
    assert tried(again) == tried(unbroken)
    assert again.counts() == {"finished": 8, "pruned": 0, "failed": 1}


def test_killed_while_settings_are_drawn_the_same_are_drawn_again(tmp_path: Path) -> None:
    unbroken = opened(tmp_path, "unbroken")
    unbroken.claim({}, START)
    searched(unbroken, 8)
    killed = opened(tmp_path, "killed")
    killed.claim({}, START)
    searched(killed, 3)
    killed._study.ask({"width": killed._distributions["width"]})
    again = opened(tmp_path, "killed")
    again.claim({}, START)
    assert again.revive() == 1
    searched(again, 8)
    assert tried(again) == tried(unbroken)


def test_what_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    opened(tmp_path).claim({}, START)
    for _ in range(3):
        assert opened(tmp_path).begin(1) is not None
        assert opened(tmp_path).revive() == 1
    study = opened(tmp_path)
    assert study.begin(1) is None
    assert study.failures()[-1] == "its process died, attempt 3"


def test_below_the_median_is_hopeless(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.claim({}, START)
    for level in (4.0, 5.0, 6.0, 7.0):
        trial = study.begin(6)
        assert trial is not None
        assert not any(study.hopeless(trial, level, epoch) for epoch in range(1, 5))
        study.finish(trial, level)
    worse, better = study.begin(6), study.begin(6)
    assert worse is not None
    assert better is not None
    # The first two epochs are left to every trial.
    assert [study.hopeless(worse, 5.0, epoch) for epoch in (1, 2, 3)] == [False, False, True]
    assert not study.hopeless(better, 6.0, 4)
    study.prune(worse)
    study.fail(better, "the loss became nan")
    assert study.counts() == {"finished": 4, "pruned": 1, "failed": 1}
    assert study.failures() == ["the loss became nan"]


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).claim({"metric": "ndcg@100", "seed": 0}, START)
    opened(tmp_path).claim({"metric": "ndcg@100", "seed": 0}, START)
    with pytest.raises(InputError, match="study one was begun with another 'metric'"):
        opened(tmp_path).claim({"metric": "recall@20", "seed": 0}, START)


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "nonsense://", "sqlite:///{}"])
def test_a_database_that_cannot_be_used_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"--storage .* cannot be used"):
        Study.open(url.format(tmp_path), "a", space=SPACE, lock=tmp_path / "lock", seed=0)


def test_what_is_told_of_trials_makes_the_same_study_elsewhere(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.claim({"split": "a"}, START)
    records = list[TrialRecord]()
    for number in range(7):
        trial = study.begin(7)
        assert trial is not None
        study.note_run(trial, f"run {number}")
        level = 0.0 if number == 6 else 5.0 + number
        hopeless = study.hopeless(trial, level, 3)
        if hopeless:
            study.prune(trial)
        elif number == 2:
            study.fail(trial, "the loss became nan")
        else:
            study.finish(trial, level)
        now = datetime(2026, 1, 1, 12, number)
        records.append(TrialRecord(f"run {number}", study.told(trial), {3: level}, now, now))
    assert study.counts() == {"finished": 5, "pruned": 1, "failed": 1}
    other = opened(tmp_path, "two")
    assert other.learn(records[::-1], {"split": "a"}) == 7
    assert other.learn(records, {"split": "a"}) == 0
    other.claim({"split": "a"}, START)
    same = study.table().drop(columns="seconds")
    pd.testing.assert_frame_equal(other.table().drop(columns="seconds"), same)
    ours, theirs = study.begin(8), other.begin(8)
    assert ours is not None
    assert theirs is not None
    assert ours.values == theirs.values
    with pytest.raises(InputError, match="was begun with another 'split'"):
        opened(tmp_path, "three").learn(records, {"split": "b"})

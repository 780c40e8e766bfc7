"""Models that may have learned what they are judged by: told, and only those."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys_vae.cli import cli
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import make_model
from recsys_vae.splitting import (
    RandomOptions,
    Split,
    SplitOptions,
    StrongOptions,
    split_by,
)
from recsys_vae.steps.seen import draw_of, may_have_seen
from recsys_vae.steps.train import save_trained
from tests.models.made_up import made_up


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def grown(n_users: int) -> Interactions:
    """The users of all sizes are the same, as far as there are so many."""
    frame = made_up(1_200, 30, 0.3, 4).frame()
    return Interactions.from_frame(frame[frame["user"] < n_users])


def trained(parts: Split, folder: Path) -> Path:
    save_trained(make_model("popularity", {}).fit(parts.train, FitOptions()), parts, 0, folder)
    return folder


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (StrongOptions(), StrongOptions(), False),
        (StrongOptions(), StrongOptions(seed=1), True),
        (StrongOptions(held_out_users=60), StrongOptions(held_out_users=120), True),
        (StrongOptions(held_out_users=120), StrongOptions(held_out_users=60), False),
        (StrongOptions(), StrongOptions(held_out_share=0.5), True),
        (StrongOptions(), RandomOptions(), True),
        (RandomOptions(), RandomOptions(), False),
        (RandomOptions(), RandomOptions(seed=1), True),
    ],
)
def test_another_draw_is_told_and_more_data_are_not(
    before: SplitOptions, after: SplitOptions, told: bool, tmp_path: Path
) -> None:
    earlier = split_by(grown(1_150), before)
    folder = trained(earlier, tmp_path / "model")
    assert not may_have_seen(folder, earlier)
    assert may_have_seen(folder, split_by(grown(1_200), after)) is told


def test_who_is_held_out_of_more_data_was_held_out_before() -> None:
    earlier, later = (split_by(grown(n), StrongOptions()) for n in (1_150, 1_200))
    train = earlier.train.users.ids(np.arange(len(earlier.train.users)))
    judged = later.test.given.users.ids(np.arange(len(later.test.given.users)))
    assert np.isin(judged, train).mean() < 0.05
    assert draw_of(earlier) == {
        "kind": "strong", "held_out_users": 0.1, "held_out_share": 0.2, "seed": 98765
    }  # fmt: skip
    other = split_by(grown(1_200), StrongOptions(seed=1)).test.given.users
    assert np.isin(other.ids(np.arange(len(other))), train).mean() > 0.5


def test_a_model_without_notes_of_its_training_is_not_accused(tmp_path: Path) -> None:
    parts = split_by(grown(100), StrongOptions())
    folder = trained(parts, tmp_path / "model")
    manifest = json.loads((folder / "model.json").read_text())
    del manifest["data"]["draw"]
    (folder / "model.json").write_text(json.dumps(manifest))
    # Other interactions, and nothing that says how they were drawn.
    assert may_have_seen(folder, split_by(grown(101), StrongOptions()))
    assert not may_have_seen(folder, parts)
    del manifest["data"]["train"]
    (folder / "model.json").write_text(json.dumps(manifest))
    assert not may_have_seen(folder, split_by(grown(101), StrongOptions()))


def test_evaluate_names_the_models_that_were_not_trained_on_the_split(tmp_path: Path) -> None:
    plays = tmp_path / "plays.csv"
    pd.DataFrame(grown(300).frame()[["user", "item"]]).to_csv(plays, index=False)
    run("ingest", "--data", plays, "--out", tmp_path / "data")
    for seed in (1, 2):
        run(
            "split",
            "--data",
            tmp_path / "data",
            "--split-seed",
            seed,
            "--out",
            tmp_path / f"s{seed}",
        )
        run("train", "--split", tmp_path / f"s{seed}", "--recipe", "ease" if seed == 1 else
            "item-knn", "--out", tmp_path / f"m{seed}")  # fmt: skip
    models = f"{tmp_path / 'm1'},{tmp_path / 'm2'}"
    said = run("evaluate", "--split", tmp_path / "s1", "--model", models, "--out", tmp_path / "e")
    assert "not trained on this split: item-knn, which may have learned what is held out" in said
    found = json.loads((tmp_path / "e" / "evaluation.json").read_text())["models"]
    assert [one["may_have_seen"] for one in found] == [False, True]
    own = f"{tmp_path / 'm1'}"
    assert "not trained" not in run(
        "evaluate", "--split", tmp_path / "s1", "--model", own, "--out", tmp_path / "e"
    )

"""Every kind of split goes through training, evaluation, recommending and scoring."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from recsys_vae.ingest.sample import make_sample
from recsys_vae.splitting import (
    LeaveLastOutOptions,
    RandomOptions,
    SplitOptions,
    StrongOptions,
    TemporalOptions,
    load_split,
)
from recsys_vae.steps.main import MainOptions, run_main
from recsys_vae.steps.recipes import Recipe

_DAY: Final = 86_400_000
_BEGIN: Final = 1_600_000_000_000
# The line takes many seconds; what the kinds do differently is over with the first step.
_KINDS: Final = [
    LeaveLastOutOptions(),
    pytest.param(TemporalOptions(new_users="include"), marks=pytest.mark.slow),
    pytest.param(RandomOptions(), marks=pytest.mark.slow),
    pytest.param(StrongOptions(held_out_users=30), marks=pytest.mark.slow),
]


@pytest.fixture
def ratings(store: Path) -> Path:
    """A small sample whose viewers watch a film a day, beginning on different days."""
    frame = make_sample(n_users=150, n_items=60).ratings
    frame = frame[frame["rating"] > 3.5]
    order = frame.groupby("user").cumcount()
    begin = frame["user"].map({user: n % 20 for n, user in enumerate(frame["user"].unique())})
    frame = frame.assign(timestamp=_BEGIN + (order + begin) * _DAY)
    frame.to_csv(store / "ratings.csv", index=False)
    return store


@pytest.mark.parametrize("options", _KINDS, ids=lambda one: one.kind)
def test_the_line_runs_with_every_kind(ratings: Path, options: SplitOptions) -> None:
    quick: dict[str, Any] = {"hidden": [16], "latent": 4, "training": {"epochs": 2}}
    done = run_main(
        MainOptions(
            data="ratings.csv",
            splitting=options,
            recipes=[Recipe("mult-vae", quick), Recipe("popularity", {})],
            device="cpu",
            out=ratings / "out",
        )
    )
    split = load_split(ratings / "out" / "split")
    assert split.kind == options.kind
    per_user = pd.read_parquet(ratings / "out" / "evaluation" / "per_user.parquet")
    # Everybody who is judged has something to find, and is judged by every model.
    judged = per_user[per_user["model"] == "popularity"]
    assert len(judged) == len(split.test.given.users)
    has_something = np.diff(split.test.held_out.matrix.indptr) > 0
    assert judged["recall@20"].notna().tolist() == has_something.tolist()
    table = pd.read_csv(ratings / "out" / "evaluation" / "metrics.csv")
    assert (table.loc[table["metric"] == "recall@50", "mean"] > 0).all()
    # The lists hold nothing that was given in the test.
    given = split.test.given.frame()
    listed = pd.read_csv(ratings / "out" / "lists" / "examples.csv")
    assert len(listed) == 30
    assert listed.merge(given, on=["user", "item"]).empty
    everyone = pd.read_parquet(done.lists / "part-00000.parquet")
    assert everyone["user"].nunique() == done.steps["ingest"].made.facts["users"]

"""Models on Gowalla as graph-recommendation papers share it, one JSON file a model.

    python -m benchmarks.gowalla_baselines --data FOLDER --out FOLDER ease graph-filter
    python -m benchmarks.gowalla_baselines --data FOLDER --out FOLDER als --set factors=256

A model learns from all of `train.txt` and ranks, for every user with items in `test.txt`, what the
user has not taken in training. Settings that are left open are chosen before, on a tenth of each
user's training items, by NDCG@20; the test items are opened once, for the model that is reported.
`--validation` stays on the training file and reports on that tenth.

A result that lies in the folder is not computed again.
"""

import argparse
import json
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from benchmarks.machine import stamp
from recsys_vae.evaluation.metrics import hits, ndcg, recall
from recsys_vae.files import write_json
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import rank
from recsys_vae.splitting import FoldIn

_K = 20
_USERS_AT_ONCE = 500

PUBLISHED: dict[str, dict[str, Any]] = {
    "ease": {"ridge": 80.0},
    "graph-filter": {"rank": 256, "low_pass": 0.3},
}
"""Settings that a paper gives for these files, with which nothing is left to choose."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A model to be measured.

    Attributes:
        model: by name in the zoo.
        settings: what differs from its defaults.
        label: the result's file name.
    """

    model: str
    settings: dict[str, Any]
    label: str


def read_adjacency(path: Path) -> pd.DataFrame:
    """Read lines `user item item ...` into columns user and item."""
    users, items = [], []
    with path.open(encoding="ascii") as lines:
        for line in lines:
            user, *taken = map(int, line.split())
            users.append(np.full(len(taken), user))
            items.append(np.array(taken, dtype=np.int64))
    return pd.DataFrame({"user": np.concatenate(users), "item": np.concatenate(items)})


def read_fold(folder: Path) -> FoldIn:
    """Read training items as given and test items as held out, row by row the same users."""
    given = Interactions.from_frame(read_adjacency(folder / "train.txt"))
    asked = Interactions.from_frame(read_adjacency(folder / "test.txt"), items=given.items)
    if asked.n_unknown:
        print(f"{asked.n_unknown} test interactions are with items nobody took in training")
    place = given.users.numbers(asked.users.ids(np.arange(len(asked.users))))
    counts = np.zeros(len(given.users), dtype=np.int64)
    counts[place] = np.diff(asked.matrix.indptr)
    # Users are sorted in both: putting empty rows between moves no entry.
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(asked.matrix.indptr.dtype)
    matrix = csr_array((asked.matrix.data, asked.matrix.indices, offsets), given.matrix.shape)
    return FoldIn(given, Interactions(given.users, given.items, matrix))


def hide_a_tenth(train: Interactions, seed: int = 0) -> FoldIn:
    """Hold out a tenth of each user's items, at random and rounded to the nearest number."""
    lengths = np.diff(train.matrix.indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((np.random.default_rng(seed).random(len(rows)), rows))
    place = np.arange(len(rows)) - np.repeat(train.matrix.indptr[:-1], lengths)
    hidden = np.zeros(len(rows), dtype=bool)
    hidden[order] = place < np.rint(0.1 * lengths)[rows]
    return FoldIn(_part(train, rows, ~hidden), _part(train, rows, hidden))


def _part(
    train: Interactions, rows: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> Interactions:
    counts = np.bincount(rows[kept], minlength=len(train.users))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(train.matrix.indptr.dtype)
    arrays = (train.matrix.data[kept], train.matrix.indices[kept], offsets)
    return Interactions(train.users, train.items, csr_array(arrays, train.matrix.shape))


def judge(model: Recommender, fold: FoldIn) -> dict[str, float]:
    """Give the means over the users that have held-out items.

    Returns:
        `recall@20` (of all held-out items), `recall@20_capped` (of at most 20) and `ndcg@20`.
    """
    judged = np.flatnonzero(np.diff(fold.held_out.matrix.indptr))
    values: dict[str, list[npt.NDArray[np.float64]]] = {}
    for start in range(0, len(judged), _USERS_AT_ONCE):
        rows = judged[start : start + _USERS_AT_ONCE]
        given, asked = fold.given.matrix[rows], fold.held_out.matrix[rows]
        hits_BK = hits(rank(model.score(given), given, _K), asked)
        block = {
            "recall@20": hits_BK.sum(axis=1) / np.diff(asked.indptr),
            "recall@20_capped": recall(hits_BK, asked, _K),
            "ndcg@20": ndcg(hits_BK, asked, _K),
        }
        for name, one in block.items():
            values.setdefault(name, []).append(one)
    return {name: float(np.concatenate(parts).mean()) for name, parts in values.items()}


def measure(setting: Setting, folder: Path, *, validation: bool, seed: int) -> dict[str, Any]:
    """Choose what is open, fit, judge; give what is reported."""
    fold = read_fold(folder)
    tenth = hide_a_tenth(fold.given)
    settings = PUBLISHED.get(setting.model, {}) | setting.settings
    judged: list[dict[str, Any]] = []

    def validate(model: Recommender) -> float:
        judged.append({"settings": model.config.model_dump(mode="json"), **judge(model, tenth)})
        return float(judged[-1]["ndcg@20"])

    started = time.perf_counter()
    model = make_model(setting.model, settings)
    if validation or None in model.config.model_dump().values():
        model.fit(tenth.given, FitOptions(seed=seed, device="cpu", validate=validate))
        settings = model.config.model_dump()
    chosen = time.perf_counter()
    if not validation:
        model = make_model(setting.model, settings)
        model.fit(fold.given, FitOptions(seed=seed, device="cpu"))
    fitted = time.perf_counter()
    result = judge(model, tenth if validation else fold)
    return {
        "model": setting.model,
        "settings": settings,
        "judged_on": "a tenth of the training items" if validation else "the test items",
        **result,
        "choice": judged,
        "choice_seconds": round(chosen - started, 1),
        "fit_seconds": round(fitted - chosen, 1),
        "judge_seconds": round(time.perf_counter() - fitted, 1),
        "seed": seed,
        **stamp("cpu"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="+", help="names in the zoo")
    parser.add_argument("--data", type=Path, required=True, help="holds train.txt and test.txt")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--set", action="append", default=[], help="key=value, as in TOML")
    parser.add_argument("--validation", action="store_true", help="stay on the training file")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    settings = tomllib.loads("\n".join(asked.set))
    for name in asked.models:
        parts = [name, *asked.set, *(["validation"] if asked.validation else [])]
        parts += [f"seed={asked.seed}"] if asked.seed else []
        setting = Setting(name, settings, "_".join(parts).replace('"', ""))
        path = asked.out / f"{setting.label}.json"
        if not path.exists():
            result = measure(setting, asked.data, validation=asked.validation, seed=asked.seed)
            write_json(path, result)
        print(json.dumps({"label": setting.label, **json.loads(path.read_text("utf-8"))}))


if __name__ == "__main__":
    main()

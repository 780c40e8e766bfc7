"""What judging costs beside making the lists, and beside judging user by user.

    python -m benchmarks.evaluate --data FOLDER --json

`FOLDER` holds Gowalla's `train.txt` and `test.txt`; without it, made-up data of that shape are
used. All users' scores come from a Mult-VAE (600-200-600) after one epoch; every measure is taken
at 10, 20, 50 and 100.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from benchmarks.loop_metrics import judge_user
from benchmarks.machine import stamp
from benchmarks.shapes import SHAPES, synthetic_rows
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import evaluate, judge, ranked
from recsys_vae.evaluation.measures import ALL_LENGTHS, parse_metrics
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.mult_vae import MultVAE, MultVAEConfig
from recsys_vae.splitting import FoldIn, Split
from recsys_vae.splitting.ready import ready_made
from recsys_vae.training.config import TrainingConfig


def _split(folder: Path | None) -> Split:
    if folder is not None:
        parts = [
            Interactions.from_frame(read_interactions(folder / f"{name}.txt")[["user", "item"]])
            for name in ("train", "test")
        ]
        return ready_made(*parts)
    rows = synthetic_rows(SHAPES["gowalla"])
    offsets, items = rows.offsets.numpy(), rows.items.numpy()
    matrix = csr_array(
        (np.ones(len(items), dtype=np.float32), items, offsets), (len(offsets) - 1, rows.n_items)
    )
    users, catalogue = IdMap.of(np.arange(len(offsets) - 1)), IdMap.of(np.arange(rows.n_items))
    whole = Interactions(users, catalogue, matrix)
    for_test = np.random.default_rng(0).random(len(whole)) < 0.2
    return ready_made(whole.where(~for_test), whole.where(for_test))


def _seconds_of_a_loop(lists: npt.NDArray[np.int32], fold: FoldIn, catalogue: Catalogue) -> float:
    held_out, given = fold.held_out.matrix, fold.given.matrix
    started = time.perf_counter()
    for user in range(len(lists)):
        judge_user(
            lists[user],
            held_out.indices[held_out.indptr[user] : held_out.indptr[user + 1]],
            given.indices[given.indptr[user] : given.indptr[user + 1]],
            ALL_LENGTHS,
            counts=catalogue.counts_I,
            n_users=catalogue.n_users,
            vectors=catalogue.vectors_ID,
        )
    return time.perf_counter() - started


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="holds train.txt and test.txt")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--loop-users", type=int, default=3_000, help="judged one by one")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    parts = _split(asked.data)
    fold, metrics = parts.test, parse_metrics(["all"])
    config = MultVAEConfig(training=TrainingConfig(epochs=1, learning_rate=2e-3))
    model = MultVAE(config).fit(parts.train, FitOptions(device="cpu"))
    topk, whole, judging = [], [], []
    names = [str(one) for one in metrics]
    for _ in range(asked.repeats):
        started = time.perf_counter()
        blocks = list(ranked(model, fold, max(ALL_LENGTHS)))
        topk.append(time.perf_counter() - started)
        started = time.perf_counter()
        evaluate(model, fold, names, catalogue=Catalogue.of(parts.train))
        whole.append(time.perf_counter() - started)
        catalogue = Catalogue.of(parts.train)
        started = time.perf_counter()
        judge(blocks, fold, metrics, catalogue=catalogue)
        judging.append(time.perf_counter() - started)
    lists = np.concatenate([one.items_BK for one in blocks])
    n_loop = min(asked.loop_users, len(lists))
    loop = _seconds_of_a_loop(lists[:n_loop], fold, catalogue) * len(lists) / n_loop
    result = {
        "users": len(lists),
        "items": len(parts.train.items),
        "metrics": len(metrics),
        "topk_s": round(min(topk), 3),
        "evaluate_s": round(min(whole), 3),
        "judge_s": round(min(judging), 3),
        "loop_s": round(loop, 1),
        "loop_users": n_loop,
        "ratio_to_topk": round(min(whole) / min(topk), 3),
        "speedup_over_loop": round(loop / min(judging), 1),
        **stamp("cpu"),
    }
    print(json.dumps(result) if asked.json else "\n".join(f"{k:18} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()

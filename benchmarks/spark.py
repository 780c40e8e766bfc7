"""What Spark costs: `--engine spark` on local[2] against the local engine on the same two cores.

    python -m benchmarks.spark --users 200000 --json

The model and the histories are those of `benchmarks.score`. Both engines do all that their verb
does: they load the model, read Parquet, write Parquet in long form and log an MLflow run; the lists
are compared. `spark_cost` is the ratio of the seconds; starting the session is `session_s`, apart,
but starting the Python workers, which import and load the model, is in it. `cpu_cost` is the ratio
of the processor's seconds, of all processes, which other work on the machine disturbs less. The
last line printed is one JSON object.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet
import torch

from benchmarks.machine import stamp
from benchmarks.score import model_of, write_histories
from recsys_vae.models.zoo import save_model
from recsys_vae.scoring.spark.session import SparkOptions, spark_session
from recsys_vae.steps.score import ScoreOptions, score
from recsys_vae.steps.score_spark import SparkScoreOptions, score_on_spark

_K = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run.

    Attributes:
        wall: seconds.
        cpu: seconds of the processor, of this process and all that it has started.
    """

    wall: float
    cpu: float


def cost_of(action: Callable[[], object]) -> Cost:
    """Do something; give what it cost."""
    cpu, begin = _cpu(), time.perf_counter()
    action()
    return Cost(time.perf_counter() - begin, _cpu() - cpu)


def _cpu() -> float:
    me = psutil.Process()
    times = [one.cpu_times() for one in (me, *me.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def local(folder: Path, out: Path) -> None:
    """Score with the local engine."""
    score(ScoreOptions(model=str(folder / "model"), histories=folder / "h.parquet", out=out, k=_K))


def spark(folder: Path, out: Path) -> None:
    """Score with the session that is active."""
    model, histories = str(folder / "model"), str(folder / "h.parquet")
    score_on_spark(SparkScoreOptions(model=model, histories=histories, out=str(out), k=_K))


def same_lists(one: Path, other: Path) -> dict[str, Any]:
    """Count places with another item, and give the largest difference of scores."""
    tables = [
        pa.parquet.read_table(path).sort_by([("user", "ascending"), ("rank", "ascending")])
        for path in (one, other)
    ]
    items = [np.asarray(table["item"]) for table in tables]
    scores = [np.asarray(table["score"]) for table in tables]
    return {
        "places": len(items[0]),
        "other_items": int((items[0] != items[1]).sum()),
        "score_difference": float(np.abs(scores[0] - scores[1]).max()),
    }


def measured(users: int, items: int, repeats: int, master: str, folder: Path) -> dict[str, Any]:
    """Measure both by turns; the fastest of each counts."""
    write_histories(folder / "h.parquet", users, items)
    save_model(model_of(items), folder / "model")
    costs: dict[str, list[Cost]] = {"local": [], "spark": []}
    begin = time.perf_counter()
    with spark_session(SparkOptions(master=master, conf={"spark.driver.memory": "2g"})):
        session_s = time.perf_counter() - begin
        for number in range(repeats):
            for name, engine in (("local", local), ("spark", spark)):
                done = partial(engine, folder, folder / f"{name}-{number}")
                costs[name].append(cost_of(done))
    wall = {name: min(one.wall for one in values) for name, values in costs.items()}
    cpu = {name: min(one.cpu for one in values) for name, values in costs.items()}
    return {
        "users": users,
        "items": items,
        "k": _K,
        "master": master,
        "local_s": round(wall["local"], 2),
        "spark_s": round(wall["spark"], 2),
        "spark_cost": round(wall["spark"] / wall["local"], 3),
        "local_cpu_s": round(cpu["local"], 2),
        "spark_cpu_s": round(cpu["spark"], 2),
        "cpu_cost": round(cpu["spark"] / cpu["local"], 3),
        "session_s": round(session_s, 2),
        **same_lists(folder / "local-0", folder / "spark-0"),
        **stamp("cpu"),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of so many counts")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        folder = Path(temporary)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        result = measured(options.users, options.items, options.repeats, options.master, folder)
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

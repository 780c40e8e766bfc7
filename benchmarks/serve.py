"""How a served model answers many callers at once: `mlflow models serve` on the loopback interface.

    python -m benchmarks.serve --json

A Mult-VAE of untrained weights (600-200-600) and ML-20M's catalogue is logged to a store of its own
and served by one worker. `--requests` requests of `--users` users each, made-up histories of
ML-20M's length, are sent at once, each by a thread of its own; `p50_ms` and `p99_ms` are from
sending a request to the whole of its answer, waiting for the others included. `alone_ms` is the
median of ten requests, one after the other. The lists are compared with those of a `Ranker`
offline, place by place. `load_s` is loading in a fresh process after the imports, `import_s` the
import of what the model needs, torch above all, and `mlflow_import_s` that of MLflow; `_cpu_s` are
the processor's seconds, which other work on the machine does not stretch. The last line printed is
one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import requests
import torch

from benchmarks.machine import stamp
from benchmarks.score import model_of
from benchmarks.server import served_model
from benchmarks.shapes import Shape, synthetic_rows
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import save_model
from recsys_vae.ranking import Ranker
from recsys_vae.tracking.given import Given
from recsys_vae.tracking.registry import log_model
from recsys_vae.tracking.runs import step_run

_K = 100
_ALONE = 10
_LOAD = """
import json, sys, time
names, times = ["mlflow_import", "import", "load", "first_answer"], []
def now(): times.append((time.perf_counter(), time.process_time()))
now()
import mlflow.pyfunc, pandas
now()
import recsys_vae.tracking.kept
now()
model = mlflow.pyfunc.load_model(sys.argv[1])
now()
model.predict(pandas.DataFrame({"history": [[1, 2, 3]]}))
now()
for name, one, other in zip(names, times, times[1:]):
    print(json.dumps({f"{name}_s": other[0] - one[0], f"{name}_cpu_s": other[1] - one[1]}))
"""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back.

    Attributes:
        seconds: from sending to the whole answer.
        items: lists of item ids, or None where the request failed.
    """

    seconds: float
    items: list[list[int]] | None


def made_up(requests_: int, users: int, items: int) -> list[list[list[int]]]:
    """Draw histories, request by request."""
    rows = synthetic_rows(Shape(users=requests_ * users, items=items, mean_history=73.0))
    offsets, taken = rows.offsets.numpy(), rows.items.numpy()
    parts = np.split(taken, offsets[1:-1])
    return [
        [part.tolist() for part in parts[start : start + users]]
        for start in range(0, len(parts), users)
    ]


def asked(address: str, histories: list[list[int]]) -> Answered:
    """Send one request."""
    frame = {"columns": ["history"], "data": [[one] for one in histories]}
    body = json.dumps({"dataframe_split": frame, "params": {"k": _K}})
    headers = {"Content-Type": "application/json"}
    begin = time.perf_counter()
    try:
        answer = requests.post(f"{address}/invocations", body, headers=headers, timeout=600)
        seconds = time.perf_counter() - begin
        answer.raise_for_status()
    except requests.RequestException:
        return Answered(time.perf_counter() - begin, None)
    return Answered(seconds, [one["items"] for one in answer.json()["predictions"]])


def at_once(address: str, histories: list[list[list[int]]]) -> tuple[list[Answered], float]:
    """Send all requests at the same moment; give the answers and the seconds of all."""
    together = Barrier(len(histories) + 1)

    def one(part: list[list[int]]) -> Answered:
        together.wait()
        return asked(address, part)

    with ThreadPoolExecutor(len(histories)) as pool:
        waiting = [pool.submit(one, part) for part in histories]
        together.wait()
        begin = time.perf_counter()
        answers = [one.result() for one in waiting]
        return answers, time.perf_counter() - begin


def equal(model: Recommender, histories: list[list[list[int]]], answers: list[Answered]) -> bool:
    """Compare every list with the offline one."""
    ranker = Ranker(model, _K)
    for part, answer in zip(histories, answers, strict=True):
        lists = ranker.lists(Given.of(part, model.items).matrix(len(model.items)))
        wanted = [model.items.ids(row[row >= 0]).tolist() for row in lists.items_BK]
        if answer.items != wanted:
            return False
    return True


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Log, serve, ask and compare."""
    model = model_of(options.items)
    save_model(model, folder / "model")
    with step_run("serve"):
        uri = log_model(model, folder / "model")
    command = [sys.executable, "-c", _LOAD, uri]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    histories = made_up(options.requests, options.users, options.items)
    with served_model(uri, folder) as address:
        alone = [asked(address, part).seconds for part in histories[: _ALONE + 1]][1:]
        answers, seconds = at_once(address, histories)
    milliseconds = 1000 * np.array([one.seconds for one in answers])
    return {
        "requests": options.requests,
        "users_per_request": options.users,
        "items": options.items,
        "k": _K,
        "p50_ms": round(float(np.quantile(milliseconds, 0.5)), 1),
        "p99_ms": round(float(np.quantile(milliseconds, 0.99)), 1),
        "failed": sum(one.items is None for one in answers),
        "equal_lists": equal(model, histories, answers),
        "users_per_s": round(options.requests * options.users / seconds, 1),
        "alone_ms": round(1000 * float(np.median(alone)), 1),
        **_rounded(loaded.splitlines()[-4:]),
        **stamp("cpu"),
    }


def _rounded(lines: list[str]) -> dict[str, float]:
    return {name: round(value, 2) for line in lines for name, value in json.loads(line).items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="sent at once")
    parser.add_argument("--users", type=int, default=100, help="of each request")
    parser.add_argument("--items", type=int, default=20_108)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        folder = Path(temporary)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        result = measured(options, folder)
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

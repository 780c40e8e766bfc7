"""What tracking costs: fits with all that `train` logs against the same fits without.

    python -m benchmarks.tracking --json

Both validate and keep checkpoints alike and take turns in one process, in a fresh SQLite store; the
first pair warms up and is not counted. `overhead_fraction` is the median over the tracked fits of
what tracking takes against the rest of the fit, from the start of the run to its end: the seconds
that the training is inside calls of tracking, by the clock, and the processor's seconds of the
thread that records the system's metrics, as if the training stood still for them.
`difference_fraction` is the median over the pairs of (with - without) / without, in processor's
seconds, with all of them in `differences`: other work on a machine moves it by more than what is to
be measured. `log_model_s` is logging the model, which happens once, whatever the length of the
training. The last line printed is one JSON object.
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.sparse import csr_array

from benchmarks.machine import stamp
from benchmarks.shapes import SHAPES, synthetic_rows
from recsys_vae.interactions import IdMap, Interactions
from recsys_vae.models.base import FitOptions
from recsys_vae.models.zoo import load_model, save_model
from recsys_vae.splitting import StrongOptions, load_split, save_split, split_by
from recsys_vae.training.records import EpochRecord

_WATCHING: Final = "SystemMetricsMonitor"
"""What MLflow calls the thread that records the system's metrics."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a fit took, in seconds.

    Attributes:
        processor: of all threads.
        tracking: inside calls of tracking, by the clock, and of the thread that watches the system.
        wall: on the clock.
    """

    processor: float
    tracking: float
    wall: float


class _Clock:
    def __init__(self) -> None:
        self._wall, self._processor, self._tracking = time.perf_counter(), time.process_time(), 0.0

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Count the seconds within."""
        started = time.perf_counter()
        yield
        self._tracking += time.perf_counter() - started

    def watched(self) -> None:
        """Count what the thread that watches the system has computed."""
        for thread in threading.enumerate():
            if thread.name == _WATCHING and thread.ident is not None:
                clock = time.pthread_getcpuclockid(thread.ident)
                self._tracking += time.clock_gettime(clock)

    def cost(self) -> Cost:
        spent = time.process_time() - self._processor
        return Cost(spent, self._tracking, time.perf_counter() - self._wall)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the result."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        before = Path.cwd()
        os.chdir(folder)  # artifacts go to the working folder
        try:
            result = _measure(folder, options)
        finally:
            os.chdir(before)
    if not options.json:
        for name, value in result.items():
            print(f"{name:24} {value}")
    print(json.dumps(result))


def _measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Fit by turns with and without tracking."""
    # MLflow reads where its store is when it is imported.
    from recsys_vae.steps.fitting import fit as fit_on
    from recsys_vae.steps.recipes import read_recipe
    from recsys_vae.steps.train import log_fit_inputs
    from recsys_vae.tracking.registry import log_model
    from recsys_vae.tracking.runs import step_run

    save_split(split_by(_interactions(options.shape), StrongOptions()), folder / "split")
    parts = load_split(folder / "split")
    settings = [f"training.epochs={options.epochs}", "training.patience=0"]
    recipe = read_recipe("mult-vae", settings)
    checkpoint = folder / "checkpoint"

    def plain() -> Cost:
        clock = _Clock()
        fit_on(recipe.make(), parts, seed=options.seed, device="cpu", checkpoint=checkpoint)
        return clock.cost()

    def tracked() -> Cost:
        clock = _Clock()
        with ExitStack() as ends:
            with clock.tracking():
                run = ends.enter_context(
                    step_run("train", name="train mult-vae", system_metrics=True)
                )
                model = recipe.make()
                log_fit_inputs(run, model, parts, seed=options.seed, device="cpu")

            def on_epoch(record: EpochRecord) -> None:
                with clock.tracking():
                    run.epoch(record)

            fit_on(
                model,
                parts,
                seed=options.seed,
                device="cpu",
                checkpoint=checkpoint,
                on_epoch=on_epoch,
            )
            clock.watched()
            with clock.tracking():
                ends.close()
        return clock.cost()

    pairs: list[tuple[Cost, Cost]] = []
    for number in range(options.pairs + 1):
        costs: dict[str, Cost] = {}
        turns: list[tuple[str, Callable[[], Cost]]] = [("plain", plain), ("tracked", tracked)]
        # Each is first as often as last: whatever a machine does over time meets both alike.
        for name, fit in turns if number % 2 else reversed(turns):
            for file in checkpoint.glob("*"):
                file.unlink()
            costs[name] = fit()
        if number:
            pairs.append((costs["plain"], costs["tracked"]))
    overheads = [two.tracking / (two.wall - two.tracking) for _, two in pairs]
    differences = [two.processor / one.processor - 1 for one, two in pairs]
    quick = read_recipe("mult-vae", ["training.epochs=1"])
    model = quick.make().fit(parts.train, FitOptions(seed=options.seed, device="cpu"))
    save_model(model, folder / "model", data={}, counts_I=np.zeros(len(parts.train.items)))
    with step_run("train"):
        started = time.perf_counter()
        log_model(load_model(folder / "model"), folder / "model")
        log_model_s = time.perf_counter() - started
    return {
        "shape": options.shape,
        "epochs": options.epochs,
        "pairs": options.pairs,
        "overhead_fraction": round(statistics.median(overheads), 4),
        "overheads": [round(one, 4) for one in overheads],
        "difference_fraction": round(statistics.median(differences), 4),
        "differences": [round(one, 4) for one in differences],
        "plain": [asdict(one) for one, _ in pairs],
        "tracked": [asdict(two) for _, two in pairs],
        "tracking_s": round(statistics.median(two.tracking for _, two in pairs), 3),
        "log_model_s": round(log_model_s, 2),
        **stamp("cpu"),
    }


def _interactions(shape: str) -> Interactions:
    """Synthetic interactions with ids."""
    rows = synthetic_rows(SHAPES[shape])
    indptr, indices = rows.offsets.numpy(), rows.items.numpy()
    ones = np.ones(len(indices), dtype=np.float32)
    matrix = csr_array((ones, indices, indptr), shape=(len(indptr) - 1, rows.n_items))
    users, items = (IdMap.of(np.arange(size)) for size in matrix.shape)
    return Interactions(users, items, matrix)


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="ml-1m")
    parser.add_argument("--epochs", type=int, default=20, help="of every fit")
    parser.add_argument("--pairs", type=int, default=5, help="measured fits of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    return parser


if __name__ == "__main__":
    main()

"""The trials of a search, in this process or in several that share the study."""

import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any, Final

from recsys_vae.errors import InputError
from recsys_vae.models.zoo import make_model
from recsys_vae.splitting import Split, load_split
from recsys_vae.steps.fitting import fit
from recsys_vae.steps.recipes import Recipe, merged
from recsys_vae.steps.search import as_settings
from recsys_vae.steps.study import Study, Trial
from recsys_vae.tracking.trials import TrialRun, trial_run
from recsys_vae.training.records import EpochRecord

_SECONDS_BETWEEN_LOOKS: Final = 0.2
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a process must know to try settings.

    Attributes:
        recipe: the model, its settings, and what of them may change.
        split: a folder that `split` wrote.
        metric: of the validation.
        seed: of the fits and of what is drawn.
        device: "auto", "cpu" or "cuda".
        trials: how many the study shall have.
        until: no trial begins after this time, in seconds of the system's clock; None: no end.
        storage: URL of the study's database.
        study: its name.
        lock: by which processes take turns.
        unfinished: folder of the checkpoints.
        parent: id of the search's MLflow run.
        threads: an operation on the CPU; None: the cores that this process may use.
    """

    recipe: Recipe
    split: Path
    metric: str
    seed: int
    device: str
    trials: int
    until: float | None
    storage: str
    study: str
    lock: Path
    unfinished: Path
    parent: str
    threads: int | None = None

    def open(self) -> Study:
        """Open the study."""
        return Study.open(
            self.storage, self.study, space=self.recipe.search, lock=self.lock, seed=self.seed
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """What a trial brought: its settings, how it ended, and the metric or the reason."""

    number: int
    values: dict[str, Any]
    end: str
    metric: float
    why: str = ""


class _HopelessError(Exception):
    """Ends a fit that is below the median of the others."""


def try_settings(search: Search, tell: Callable[[Tried], None], worker: int = 0) -> None:
    """Try settings until there are enough trials, or it is time to stop.

    Args:
        search: what to do.
        tell: is told of every trial.
        worker: number of this process, from 0.
    """
    study, parts = search.open(), load_split(search.split)
    while search.until is None or time.time() < search.until:
        trial = study.begin(search.trials, worker)
        if trial is None:
            return
        tell(_try(search, study, trial, parts))


def _try(search: Search, study: Study, trial: Trial, parts: Split) -> Tried:
    unfinished = search.unfinished / f"trial-{trial.root}"
    with trial_run(search.parent, search.study, f"trial {trial.number}") as run:
        study.note_run(trial, run.run_id)
        run.remember(study.told(trial))
        seen = -math.inf

        def watch(record: EpochRecord) -> None:
            nonlocal seen
            _stop_orphans()
            run.epoch(record)
            if record.validation is None:
                return
            seen = max(seen, record.validation)
            if study.hopeless(trial, record.validation, record.epoch):
                raise _HopelessError

        try:
            tried = _fit(search, trial, parts, run, watch, unfinished)
        except _HopelessError:
            tried = Tried(trial.number, trial.values, "pruned", seen)
        except (InputError, MemoryError) as error:
            tried = Tried(trial.number, trial.values, "failed", math.nan, str(error))
        _stop_orphans()
        if tried.end == "finished":
            study.finish(trial, tried.metric)
        elif tried.end == "pruned":
            run.end = "KILLED"
            study.prune(trial)
        else:
            run.end = "FAILED"
            study.fail(trial, tried.why)
        run.remember(study.told(trial))
        run.tags({"recsys_vae.trial": str(trial.number), "recsys_vae.trial.end": tried.end})
        if tried.why:
            run.tags({"recsys_vae.trial.why": tried.why})
    shutil.rmtree(unfinished, ignore_errors=True)
    return tried


def _fit(
    search: Search,
    trial: Trial,
    parts: Split,
    run: TrialRun,
    watch: Callable[[EpochRecord], None],
    unfinished: Path,
) -> Tried:
    model = make_model(
        search.recipe.model, merged(search.recipe.settings, as_settings(trial.values))
    )
    run.params("fit", {"model": model.name, "seed": search.seed, "device": search.device})
    run.params("model", model.config.model_dump(mode="json"))
    run.tags({"recsys_vae.model": model.name})
    fitted = fit(
        model,
        parts,
        metric=search.metric,
        seed=search.seed,
        device=search.device,
        threads=search.threads,
        on_epoch=watch,
        checkpoint=unfinished,
    )
    run.metrics({"fit_seconds": fitted.seconds, f"validation_{search.metric}": fitted.validation})
    if not math.isfinite(fitted.validation):
        raise InputError("the scores are not finite")
    return Tried(trial.number, trial.values, "finished", fitted.validation)


def _stop_orphans() -> None:
    """End a worker whose search was killed: another may be doing its trial already."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def try_in_parallel(searches: "list[Search]", tell: Callable[[Tried], None]) -> None:
    """Try settings in several processes.

    Args:
        searches: one a process; they share a study.
        tell: is told of every trial, in this process.

    Raises:
        InputError: a process ended before its time.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(search, number, told), daemon=True)
        for number, search in enumerate(searches)
    ]
    try:
        for worker, search in zip(workers, searches, strict=True):
            with _environment(search.threads or 1):
                worker.start()
        while True:
            running = any(worker.is_alive() for worker in workers)
            try:
                found = told.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except Empty:
                if running:
                    continue
                break
            if isinstance(found, InputError):
                raise found
            tell(found)
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
        for worker in workers:
            if worker.pid is not None:
                worker.join()
    gone = [worker.exitcode for worker in workers if worker.exitcode]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(workers)} workers ended before their time (exit code {gone[0]}; "
            "of -9 want of memory is the usual cause): give the same command again, with fewer "
            "--workers if need be"
        )


def _work(search: Search, number: int, told: Any) -> None:
    # Ctrl-C goes to every process of a terminal: the search itself ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        try_settings(search, told.put, number)
    except InputError as error:
        told.put(error)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Let a process that is started now take so many threads: libraries read it at import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

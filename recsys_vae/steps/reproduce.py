"""reproduce: a run is rebuilt from what it logged, and the numbers are compared bit by bit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pandas as pd
import torch
from pydantic import TypeAdapter, ValidationError
from threadpoolctl import threadpool_limits

from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import evaluate
from recsys_vae.evaluation.measures import parse_metrics
from recsys_vae.models.zoo import load_model, make_model, model_fingerprint
from recsys_vae.splitting import Split, load_split
from recsys_vae.steps.fitting import fit
from recsys_vae.steps.judged import Judged
from recsys_vae.steps.rebuilding import (
    FILE,
    EvaluateNotes,
    Surroundings,
    TrainNotes,
    fingerprints,
    judged_results,
    training_results,
)
from recsys_vae.steps.train import save_trained
from recsys_vae.tracking.rebuilding import read_notes
from recsys_vae.tracking.registry import model_folder
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.host import prepare_host

_NOTES: Final = TypeAdapter[TrainNotes | EvaluateNotes](TrainNotes | EvaluateNotes)
_ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceOptions:
    """What is rebuilt, and where it may differ on purpose.

    Attributes:
        run: id of an MLflow run of `train`, `evaluate` or `main`.
        split: folder of the split; None: where it was.
        threads: an operation on the CPU; None: as many as then.
        device: "auto", "cpu" or "cuda"; None: the kind that it was, or what there is.
    """

    run: str
    split: Path | None = None
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was.

    Attributes:
        of: the step and model.
        what: its name, such as "threads" or "epoch 3 loss".
        then: as it was logged.
        now: as it is.
    """

    of: str
    what: str
    then: str
    now: str


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What a repetition found.

    Attributes:
        compared: how many numbers.
        results: the numbers that differ.
        circumstances: what else differs, and may be why.
    """

    compared: int
    results: list[Difference] = field(default_factory=list)
    circumstances: list[Difference] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether every number is the same."""
        return not self.results


def reproduce(
    options: ReproduceOptions, say: Callable[[str], None] = lambda _line: None
) -> Reproduced:
    """Do again what a run did, with the same data, settings, seed and threads, and compare.

    Of a run of `main`, its trainings and evaluations are done again; the models that are trained
    again are those that are evaluated.

    Args:
        options: what to rebuild.
        say: is told, line by line, what is being done.

    Returns:
        What differs.

    Raises:
        InputError: the run wrote nothing down, the data are gone or others, a model is gone, or a
            setting does not exist any more.
    """
    steps = [(one, _parsed(one, notes)) for one, notes in read_notes(options.run, FILE)]
    with step_run("reproduce") as run, TemporaryDirectory(prefix="recsys-vae-") as scratch:
        run.params("reproduce", {"run": options.run})
        work = _Work(options, Path(scratch), say)
        parts = [work.again(run_id, notes) for run_id, notes in steps]
        done = Reproduced(
            sum(one.compared for one in parts),
            [row for one in parts for row in one.results],
            [row for one in parts for row in one.circumstances],
        )
        run.tags({"recsys_vae.identical": str(done.identical).lower()})
        run.metrics({"numbers_compared": done.compared, "numbers_different": len(done.results)})
        run.table(differences(done), "differences.json")
        return done


def differences(done: Reproduced) -> pd.DataFrame:
    """Give a row a difference: of, what, then, now."""
    rows = [
        {"of": one.of, "what": one.what, "then": one.then, "now": one.now}
        for one in (*done.circumstances, *done.results)
    ]
    return pd.DataFrame(rows, columns=["of", "what", "then", "now"])


class _Work:
    """Does steps again, one after the other."""

    def __init__(
        self, options: ReproduceOptions, scratch: Path, say: Callable[[str], None]
    ) -> None:
        self._options, self._scratch, self._say = options, scratch, say
        self._again: dict[str, Path] = {}

    def again(self, run_id: str, notes: TrainNotes | EvaluateNotes) -> Reproduced:
        """Do a step again and compare."""
        parts = self._split(run_id, notes)
        then = notes.surroundings
        threads = self._options.threads or then.threads
        # Products of NumPy and SciPy have threads of their own.
        blas = self._options.threads or then.blas_threads
        with threadpool_limits(limits=blas, user_api="blas"):
            prepare_host(threads)
            if isinstance(notes, TrainNotes):
                return self._train(run_id, notes, parts, threads)
            return self._evaluate(run_id, notes, parts)

    def _split(self, run_id: str, notes: TrainNotes | EvaluateNotes) -> Split:
        folder = self._options.split or Path(notes.split)
        if not folder.is_dir():
            raise InputError(
                f"the split of MLflow run {run_id} is not in {folder}: say with --split where it is"
            )
        parts = load_split(folder)
        now = fingerprints(parts)
        wrong = [name for name, value in notes.fingerprints.items() if now.get(name) != value]
        if wrong:
            name = wrong[0]
            raise InputError(
                f"the data differ: '{name}' of split {folder} has fingerprint "
                f"{now.get(name, _ABSENT)[:16]}, that of MLflow run {run_id} had "
                f"{notes.fingerprints[name][:16]}: name the folder of the same split with --split"
            )
        return parts

    def _train(self, run_id: str, notes: TrainNotes, parts: Split, threads: int) -> Reproduced:
        label = f"train {notes.model}"
        self._say(label)
        try:
            model = make_model(notes.model, notes.config)
        except InputError as error:
            raise InputError(f"MLflow run {run_id} cannot be rebuilt: {error}") from error
        config = model.config.model_dump(mode="json")
        device = self._device(notes.surroundings)
        fitted = fit(
            model,
            parts,
            metric=notes.metric,
            seed=notes.seed,
            device=device,
            threads=threads,
            progress=True,
        )
        out = self._scratch / run_id
        save_trained(model, parts, notes.seed, out)
        self._again[notes.fingerprint] = out
        results = training_results(fitted, notes.metric)
        rows = _different(label, notes.results, results, _number)
        fingerprint = model_fingerprint(out)
        if fingerprint != notes.fingerprint:
            rows.append(Difference(label, "saved model", notes.fingerprint[:16], fingerprint[:16]))
        circumstances = _different(label, _flat(notes.config), _flat(config), str)
        circumstances += _moved(label, notes.surroundings, Surroundings.here(device))
        return Reproduced(len(notes.results) + 1, rows, circumstances)

    def _evaluate(self, run_id: str, notes: EvaluateNotes, parts: Split) -> Reproduced:
        self._say(f"evaluate on {notes.part}")
        fold = parts.test if notes.part == "test" else parts.validation
        catalogue = Catalogue.of(parts.train)
        asked = [str(one) for one in parse_metrics(notes.metrics)]
        judged = []
        for one in notes.models:
            folder = self._again.get(one.fingerprint) or self._kept(run_id, one.reference)
            if one.fingerprint not in self._again and model_fingerprint(folder) != one.fingerprint:
                raise InputError(
                    f"{one.reference} is not the model '{one.label}' that MLflow run {run_id} "
                    "evaluated: reproduce the run that trained it"
                )
            model = load_model(folder)
            found = evaluate(model, fold, asked, catalogue=catalogue)
            config = model.config.model_dump(mode="json")
            judged.append(Judged(one.label, found.estimates(), found, model.name, config, None))
        rows = _different("evaluate", notes.results, judged_results(judged), _number)
        circumstances = _moved("evaluate", notes.surroundings, Surroundings.here("cpu"))
        return Reproduced(len(notes.results), rows, circumstances)

    def _kept(self, run_id: str, reference: str) -> Path:
        try:
            folder = model_folder(reference)
            model_fingerprint(folder)
        except InputError as error:
            raise InputError(
                f"the model {reference} that MLflow run {run_id} evaluated is gone "
                f"({reason(error)}): reproduce the run that trained it"
            ) from error
        return folder

    def _device(self, then: Surroundings) -> str:
        if self._options.device is not None:
            return self._options.device
        wanted = "cpu" if then.device == "cpu" else "cuda"
        return wanted if wanted == "cpu" or torch.cuda.is_available() else "auto"


def _parsed(run_id: str, notes: dict[str, Any]) -> TrainNotes | EvaluateNotes:
    try:
        return _NOTES.validate_python(notes)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"MLflow run {run_id} cannot be rebuilt: its {FILE} is of another version "
            f"({'.'.join(map(str, first['loc']))}: {first['msg'].lower()}): use the version of "
            "recsys-vae that made it"
        ) from error


def _moved(of: str, then: Surroundings, now: Surroundings) -> list[Difference]:
    return _different(of, then.facts(), now.facts(), str)


def _different(
    of: str, then: Mapping[str, Any], now: Mapping[str, Any], write: Callable[[Any], str]
) -> list[Difference]:
    """Give what is not the same; NaN is the same as NaN."""
    return [
        Difference(of, name, _written(name, then, write), _written(name, now, write))
        for name in {**then, **now}
        if not _same(then.get(name, _ABSENT), now.get(name, _ABSENT))
    ]


def _written(name: str, values: Mapping[str, Any], write: Callable[[Any], str]) -> str:
    return write(values[name]) if name in values else _ABSENT


def _same(then: Any, now: Any) -> bool:
    both = isinstance(then, float) and isinstance(now, float)
    return bool(then == now or (both and math.isnan(then) and math.isnan(now)))


def _number(value: float) -> str:
    return f"{value:.17g}"


def _flat(settings: Mapping[str, Any], prefix: str = "setting ") -> dict[str, Any]:
    """Write nested settings with dots.

    >>> _flat({"training": {"epochs": 5}})
    {'setting training.epochs': 5}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat

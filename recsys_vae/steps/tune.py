"""tune: settings of a recipe are searched, and the best are trained with and registered."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
from tqdm import tqdm

from recsys_vae.errors import InputError
from recsys_vae.evaluation.measures import ACCURACY, parse_metric
from recsys_vae.files import atomic_file, check_replaceable
from recsys_vae.models.zoo import CONTENTS as MODEL_CONTENTS
from recsys_vae.splitting import Split, load_split
from recsys_vae.steps.alone import LOCK, alone, alone_at
from recsys_vae.steps.digests import digest
from recsys_vae.steps.recipes import Recipe, merged
from recsys_vae.steps.search import as_settings, start_values
from recsys_vae.steps.study import Best, Study
from recsys_vae.steps.train import VALIDATION_METRIC, Trained, train
from recsys_vae.steps.trials import Search, Tried, try_in_parallel, try_settings
from recsys_vae.tracking.registry import REGISTERED_NAME, check_register_name
from recsys_vae.tracking.runs import StepRun, step_run, tracking_uri
from recsys_vae.tracking.trials import adopt_trials, trial_records
from recsys_vae.training.device import choose_device
from recsys_vae.training.host import usual_threads

MODEL: Final = "model"
TRIALS: Final = "trials.csv"
RECIPE: Final = "best.toml"
_STUDY_FILE: Final = "study.db"
_UNFINISHED: Final = "unfinished"
_ASKING: Final = ".asking"
_QUOTES: Final = frozenset("'\"`")
"""What MLflow's filters cannot look for."""
CONTENTS: Final = (
    MODEL, f"{MODEL}.unfinished", TRIALS, RECIPE, f"{_STUDY_FILE}*", _UNFINISHED, LOCK, _ASKING
)  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """What is searched, and how long.

    Attributes:
        split: a folder that `split` wrote.
        recipe: with a table `[search]`.
        trials: how many the study shall have, those of earlier calls included.
        workers: processes that try settings at the same time.
        timeout: seconds after which no trial begins; None: no end.
        seed: of the fits and of the search.
        device: "auto", "cpu" or "cuda".
        metric: of the validation, higher is better.
        storage: file or URL of the study's database; None: beside MLflow's, or in `out`.
        study: its name; None: after the recipe and all that the search depends on.
        register: name in MLflow's registry for the winner; None: it is not registered.
        out: the folder to write to.
    """

    split: Path
    recipe: Recipe
    trials: int = 20
    workers: int = 1
    timeout: float | None = None
    seed: int = 0
    device: str = "auto"
    metric: str = VALIDATION_METRIC
    storage: str | None = None
    study: str | None = None
    register: str | None = REGISTERED_NAME
    out: Path


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came out.

    Attributes:
        best: the winner.
        trained: its model.
        table: a row a trial.
        counts: trials by how they ended.
        importances: of the settings, by name; empty where too few trials are finished.
        study: the study's name.
        storage: where it is kept.
    """

    best: Best
    trained: Trained
    table: pd.DataFrame
    counts: dict[str, int]
    importances: dict[str, float]
    study: str
    storage: str


def tune(options: TuneOptions, say: Say = lambda _line: None) -> Tuned:
    """Search, then train with the best settings and register the model as challenger.

    The recipe's own settings are tried first. An interrupted search goes on where it was when the
    same call is made again: trials whose process died are tried again.

    Args:
        options: what to do.
        say: is told, line by line, what has been found.

    Returns:
        The winner, its model and all trials.

    Raises:
        InputError: the recipe has no search space or an unusable one, the study is another's or
            cannot be kept, or every trial failed.
    """
    recipe, out = options.recipe, options.out
    if not recipe.search:
        raise InputError(
            f"recipe {recipe.label} has nothing to search: add a table [search], for example "
            "with latent = {low = 64, high = 512, log = true}, or name a file of pipelines/recipes"
        )
    try:
        start = start_values(recipe.model, recipe.settings, recipe.search)
    except InputError as error:
        raise InputError(f"recipe {recipe.label}, {error}") from error
    if parse_metric(options.metric).name not in ACCURACY:
        raise InputError(
            f"--metric {options.metric} does not say how well lists find what is held out: give "
            f"one of {', '.join(ACCURACY)}, for example {VALIDATION_METRIC}"
        )
    choose_device(options.device)
    if options.register is not None:
        check_register_name(options.register)
    if options.study is None and _QUOTES & set(recipe.label):
        raise InputError(f"recipe {recipe.label}: rename the file so that no quote is in its name")
    if _QUOTES & set(options.study or ""):
        raise InputError(f"--study {options.study}: give a name without quotes")
    check_replaceable(out, CONTENTS)
    check_replaceable(out / MODEL, MODEL_CONTENTS)
    with step_run("tune") as run:
        parts = load_split(options.split)
        out.mkdir(parents=True, exist_ok=True)
        identity = _identity(options, parts)
        name = options.study or f"{recipe.label}-{digest(identity)[:8]}"
        with alone(out), _alone_with(_storage(options), name):
            search = Search(
                recipe=recipe,
                split=options.split,
                metric=options.metric,
                seed=options.seed,
                device=options.device,
                trials=options.trials,
                until=None if options.timeout is None else time.time() + options.timeout,
                storage=_storage(options),
                study=name,
                lock=out / _ASKING,
                # Trials of another study of the same number are other trials.
                unfinished=out / _UNFINISHED / digest(name)[:8],
                parent=run.run_id,
            )
            study = search.open()
            learned = study.learn(trial_records(run.run_id, name), identity)
            if learned:
                say(f"{learned} trials are known from MLflow")
            study.claim(identity, start)
            adopt_trials(run.run_id, name)
            _describe(run, options, parts, name)
            revived = study.revive()
            if revived:
                say(f"{revived} trials whose process died are tried again")
            _try_all(options, search, study, run, say)
            return _conclude(options, search, study, run)


def _describe(run: StepRun, options: TuneOptions, parts: Split, study: str) -> None:
    recipe = options.recipe
    run.params(
        "tune",
        {
            "model": recipe.model,
            "recipe": recipe.label,
            "metric": options.metric,
            "trials": options.trials,
            "workers": options.workers,
            "seed": options.seed,
            "study": study,
        },
    )
    run.params("search", {name: str(one) for name, one in recipe.search.items()})
    run.tags({"recsys_vae.model": recipe.model})
    run.dataset(parts.train, "train", "train")
    run.dataset(parts.validation.held_out, "validation", "validate")


def _try_all(options: TuneOptions, search: Search, study: Study, run: StepRun, say: Say) -> None:
    bar = tqdm(
        total=options.trials,
        initial=min(study.ended(), options.trials),
        desc=options.recipe.label,
        unit="trial",
        disable=None,
    )
    best = study.best()

    def tell(tried: Tried) -> None:
        nonlocal best
        if tried.end == "finished" and (best is None or tried.metric > best.metric):
            best = Best(tried.number, tried.values, tried.metric)
        if best is not None:
            run.metrics({f"best_validation_{options.metric}": best.metric}, step=tried.number)
        bar.update()
        shown = "none yet" if best is None else f"{best.metric:.4f} (trial {best.number})"
        bar.set_postfix_str(f"best {shown}")
        if bar.disable:
            say(f"{_sentence(tried)}; best {shown}")

    try:
        if options.workers == 1:
            try_settings(search, tell)
        else:
            threads = max(1, usual_threads() // options.workers)
            searches = [replace(search, threads=threads)] * options.workers
            try_in_parallel(searches, tell)
    finally:
        bar.close()


def _sentence(tried: Tried) -> str:
    settings = ", ".join(f"{name} {_shown(value)}" for name, value in tried.values.items())
    brought = f" ({tried.why})" if tried.end == "failed" else f" {tried.metric:.4f}"
    return f"trial {tried.number} {tried.end}{brought}: {settings}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _conclude(options: TuneOptions, search: Search, study: Study, run: StepRun) -> Tuned:
    counts, best, table = study.counts(), study.best(), study.table()
    run.metrics({f"trials_{word}": count for word, count in counts.items()})
    with atomic_file(options.out / TRIALS) as temporary:
        table.to_csv(temporary, index=False)
    run.artifact(options.out / TRIALS)
    if best is None:
        why = (study.failures() or ["no trial was begun: give more --timeout"])[-1]
        raise InputError(
            f"study {search.study} has no finished trial (the last: {why}): mend the recipe or "
            "its [search]"
        )
    importances = study.importances()
    run.table(table.astype({"run": str}), "trials.json")
    if importances:
        rows = {"setting": list(importances), "importance": list(importances.values())}
        run.table(pd.DataFrame(rows), "importances.json")
        run.metrics({f"importance_{name}": value for name, value in importances.items()})
    settings = merged(options.recipe.settings, as_settings(best.values))
    winner = Recipe(options.recipe.model, settings, options.recipe.label)
    with atomic_file(options.out / RECIPE) as temporary:
        temporary.write_text(_toml(winner, options.metric, best), "utf-8")
    run.artifact(options.out / RECIPE)
    run.params("best", {"trial": best.number, **best.values})
    trained = train(
        split=options.split,
        recipe=winner,
        out=options.out / MODEL,
        seed=options.seed,
        device=options.device,
        register=options.register,
        metric=options.metric,
    )
    assert trained is not None  # a search has no helping processes
    run.metrics({f"validation_{options.metric}": trained.validation})
    shutil.rmtree(search.unfinished, ignore_errors=True)
    with suppress(OSError):  # another study's may lie there
        search.unfinished.parent.rmdir()
    return Tuned(best, trained, table, counts, importances, search.study, search.storage)


def _identity(options: TuneOptions, parts: Split) -> dict[str, Any]:
    recipe = options.recipe
    return {
        "split": [parts.train.fingerprint, parts.validation.held_out.fingerprint],
        "model": recipe.model,
        "settings": json.dumps(recipe.settings, sort_keys=True),
        "search": {name: one.model_dump_json() for name, one in recipe.search.items()},
        "metric": options.metric,
        "seed": options.seed,
    }


def _storage(options: TuneOptions) -> str:
    """Give the URL of the database in which processes share the study.

    It is a file of its own: MLflow and Optuna keep the version of their tables under one name. What
    is in it is in MLflow's store, too.
    """
    asked = options.storage
    if asked is not None:
        return asked if "://" in asked else f"sqlite:///{asked}"
    path = tracking_uri().partition("?")[0]
    if path.startswith("sqlite:///"):
        return f"{path.removesuffix('.db')}.studies.db"
    return f"sqlite:///{options.out / _STUDY_FILE}"


@contextmanager
def _alone_with(storage: str, study: str) -> Iterator[None]:
    """Keep other searches from the study, where its database is a file: they would end its trials.

    Raises:
        InputError: another search goes on.
    """
    database = Path(storage.removeprefix("sqlite:///").partition("?")[0])
    is_file = storage.startswith("sqlite:///") and not database.is_dir()
    if not is_file or not database.parent.is_dir():
        yield
        return
    sentence = (
        f"another process is searching in study {study} of {database}: wait for it, or give "
        "another --study"
    )
    with alone_at(database.with_name(f"{database.name}.{digest(study)[:8]}.lock"), sentence):
        yield


def _toml(recipe: Recipe, metric: str, best: Best) -> str:
    """Write a recipe; JSON's numbers, texts and lists are TOML's, too."""
    lines = [
        f"# Trial {best.number}: validation {metric} {best.metric:.4f}.",
        f"model = {json.dumps(recipe.model)}",
    ]
    tables: list[str] = []
    for key, value in recipe.settings.items():
        if isinstance(value, dict):
            inner = [f"{name} = {json.dumps(one)}" for name, one in value.items()]
            tables += ["", f"[{key}]", *inner]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *tables]) + "\n"

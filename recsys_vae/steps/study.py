"""The study of a search: which settings were tried, what they brought, and what to try next.

The only file that imports optuna.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd
from filelock import FileLock
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError

from recsys_vae.errors import InputError, reason
from recsys_vae.steps.digests import digests, hashed
from recsys_vae.steps.search import Label, Range, Space
from recsys_vae.tracking.trials import TrialRecord

try:
    import optuna
    from optuna.trial import TrialState
except ImportError as error:
    raise InputError(
        "tune needs optuna, which is not installed: pip install 'recsys-vae[tune]'"
    ) from error

_ATTEMPTS: Final = 3
"""A trial whose process dies is tried so often: it may be what kills it."""
_IDENTITY: Final = "identity"
_ROOT: Final = "first_attempt"
_DIED: Final = "died"
_WHY: Final = "why"
_RUN: Final = "run_id"
_STARTUP_TRIALS: Final = 4
_FIRST_JUDGED_EPOCH: Final = 3
_SECONDS_FOR_A_LOCK: Final = 60
_UNUSABLE: Final = (ImportError, OSError, RuntimeError, ValueError)
_LONGEST_REASON: Final = 1_000
"""A tag of MLflow's holds 8,000 characters."""
_STATES: Final = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of settings to try.

    Attributes:
        number: in the study.
        root: number of the first attempt, if earlier ones died; otherwise its own.
        values: by setting, as the recipe would have them.
    """

    number: int
    root: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Best:
    """The best trial: its number, its settings by name, and the metric."""

    number: int
    values: dict[str, Any]
    metric: float


class Study:
    """Asks for settings and remembers what they brought, in a database that processes share."""

    def __init__(self, study: "optuna.Study", space: Space, lock: Path, seed: int) -> None:
        """Wrap a study; `open` makes one."""
        self._study, self._space, self._seed = study, space, seed
        self._distributions = {name: _distribution(one) for name, one in space.items()}
        self._lock = FileLock(lock)
        self._open: dict[int, optuna.Trial] = {}

    @classmethod
    def open(cls, url: str, name: str, *, space: Space, lock: Path, seed: int) -> Self:
        """Open a study, or make an empty one.

        Args:
            url: of the database, such as "sqlite:///studies.db".
            name: of the study.
            space: where to search.
            lock: a file by which processes take turns in asking.
            seed: of what is asked for.

        Raises:
            InputError: the database cannot be used.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        timeout = {"timeout": _SECONDS_FOR_A_LOCK} if url.startswith("sqlite:") else {}
        with _readable(url), FileLock(lock):
            _refuse_mlflows(url)
            storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": timeout})
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(_STARTUP_TRIALS, _FIRST_JUDGED_EPOCH),
            )
        return cls(study, space, lock, seed)

    def claim(self, identity: Mapping[str, Any], start: Mapping[str, Label]) -> None:
        """Write down what is searched for, and what to try first; refuse a study of another thing.

        Args:
            identity: what must be the same when the search goes on, by name.
            start: the settings of the first trial; absent ones are drawn.

        Raises:
            InputError: the study searches for something else.
        """
        before = self._study.user_attrs.get(_IDENTITY)
        if before is None:
            self._study.enqueue_trial(dict(start))
            self._study.set_user_attr(_IDENTITY, dict(identity))
            return
        self._refuse_another(before, identity)

    def learn(self, records: Sequence[TrialRecord], identity: Mapping[str, Any]) -> int:
        """Take over trials that MLflow knows and the database does not.

        So a search goes on from the tracking store alone, on another machine, too.

        Args:
            records: what the runs of the trials say, as `told` wrote it.
            identity: what must be the same when the search goes on, by name.

        Returns:
            How many there were.

        Raises:
            InputError: they are trials of something else.
        """
        known = {one.user_attrs.get(_RUN) for one in self._trials()}
        new = [one for one in records if one.run_id not in known]
        new.sort(key=lambda one: (one.record["number"], one.begun))
        own = digests(identity)
        last = {one.record["root"]: one for one in new}
        places = dict[int, int]()
        for one in new:
            self._refuse_another(one.record[_IDENTITY], own)
            root, number = one.record["root"], len(self._trials())
            places.setdefault(root, number)
            tried_again = one.record["state"] == "RUNNING" and last[root] is not one
            self._study.add_trial(self._frozen(one, places[root], tried_again=tried_again))
        if new and self._study.user_attrs.get(_IDENTITY) is None:
            self._study.set_user_attr(_IDENTITY, dict(identity))
        return len(new)

    def _frozen(
        self, one: TrialRecord, root: int, *, tried_again: bool
    ) -> "optuna.trial.FrozenTrial":
        """Give a trial as the database has it."""
        state = TrialState.FAIL if tried_again else TrialState[one.record["state"]]
        attributes = {_RUN: one.run_id, _ROOT: root, _WHY: one.record["why"]}
        if tried_again:
            attributes |= {_WHY: "its process died", _DIED: True}
        return optuna.trial.FrozenTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=one.record["metric"],
            datetime_start=one.begun,
            datetime_complete=(one.ended or one.begun) if state.is_finished() else None,
            params=one.record["settings"],
            distributions=self._distributions,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values=one.epochs,
        )

    def told(self, trial: Trial) -> dict[str, Any]:
        """Give what `learn` takes over of a trial, to be kept with its MLflow run."""
        one = self._trials()[trial.number]
        return {
            "number": one.number,
            "root": trial.root,
            "state": one.state.name,
            "metric": one.value,
            "settings": one.params,
            "why": str(one.user_attrs.get(_WHY, ""))[:_LONGEST_REASON],
            _IDENTITY: digests(self._study.user_attrs.get(_IDENTITY, {})),
        }

    def _refuse_another(self, before: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        wrong = next((one for one, value in identity.items() if before.get(one) != value), None)
        if wrong is not None:
            raise InputError(
                f"study {self._study.study_name} was begun with another '{wrong}': give --study "
                "another name, or the same split, recipe and options as before"
            )

    def revive(self) -> int:
        """Mark trials as failed whose process is gone, and queue their settings again.

        Returns:
            How many there were.
        """
        dead = self._trials(TrialState.RUNNING)
        for one in dead:
            root = one.user_attrs.get(_ROOT, one.number)
            attempts = 1 + sum(
                other.number < one.number and other.user_attrs.get(_ROOT, other.number) == root
                for other in self._trials(TrialState.FAIL)
            )
            again = attempts < _ATTEMPTS
            # First the attribute: a finished trial takes none.
            running = optuna.trial.Trial(self._study, one._trial_id)
            running.set_user_attr(_WHY, f"its process died, attempt {attempts}")
            running.set_user_attr(_DIED, again)
            self._study.tell(one.number, state=TrialState.FAIL)
            if again:
                params = dict(one.system_attrs.get("fixed_params", {}))
                if one.params.keys() == self._distributions.keys():
                    params |= one.params
                # What was drawn in part only is drawn again: the same, from the same seed.
                if params:
                    self._study.enqueue_trial(params, user_attrs={_ROOT: root})
        return len(dead)

    def begin(self, most: int, worker: int = 0) -> Trial | None:
        """Give the next settings to try, or None where `most` trials are begun.

        What is drawn depends on the seed and the trials so far, not on when the search was
        interrupted.

        Args:
            most: trials of the study, those not counted whose process died.
            worker: number of the process that asks, from 0.
        """
        with self._lock:
            begun = self._counted()
            if begun >= most:
                return None
            self._study.sampler = _sampler(hashed(self._seed, begun, worker))
            asked = self._study.ask(self._distributions)
        self._open[asked.number] = asked
        values = {name: self._space[name].value(asked.params[name]) for name in self._space}
        return Trial(asked.number, asked.user_attrs.get(_ROOT, asked.number), values)

    def note_run(self, trial: Trial, run_id: str) -> None:
        """Remember the trial's MLflow run."""
        self._open[trial.number].set_user_attr(_RUN, run_id)

    def hopeless(self, trial: Trial, metric: float, epoch: int) -> bool:
        """Take note of an intermediate value; say whether it is below the median of the others."""
        one = self._open[trial.number]
        one.report(metric, epoch)
        return bool(one.should_prune())

    def finish(self, trial: Trial, metric: float) -> None:
        """Take note of the final value."""
        self._study.tell(self._open.pop(trial.number), metric)

    def prune(self, trial: Trial) -> None:
        """Take note that the trial was stopped early."""
        self._study.tell(self._open.pop(trial.number), state=TrialState.PRUNED)

    def fail(self, trial: Trial, why: str) -> None:
        """Take note that the trial brought nothing, and why."""
        one = self._open.pop(trial.number)
        one.set_user_attr(_WHY, why)
        self._study.tell(one, state=TrialState.FAIL)

    def counts(self) -> dict[str, int]:
        """Count the trials that are finished, pruned and failed."""
        states = [one.state.name for one in self._trials()]
        return {word: states.count(state) for state, word in _STATES.items()}

    def ended(self) -> int:
        """Count the trials that are over, those left out that are tried again."""
        return self._counted() - len(self._trials(TrialState.RUNNING))

    def best(self) -> Best | None:
        """Give the best finished trial, if there is one."""
        done = self._trials(TrialState.COMPLETE)
        if not done:
            return None
        # Of equal ones the first.
        one = max(done, key=lambda trial: (trial.value, -trial.number))
        assert one.value is not None  # a finished trial has one
        values = {name: self._space[name].value(one.params[name]) for name in self._space}
        return Best(one.number, values, one.value)

    def failures(self) -> list[str]:
        """Say of each failed trial why, in order."""
        return [str(one.user_attrs.get(_WHY, "")) for one in self._trials(TrialState.FAIL)]

    def table(self) -> pd.DataFrame:
        """Give a row a trial: number, state, metric, epochs, settings, seconds, why, run."""
        rows = []
        for one in self._trials():
            begun, done = one.datetime_start, one.datetime_complete
            last = one.last_step
            rows.append(
                {
                    "trial": one.number,
                    "state": _STATES.get(one.state.name, one.state.name.lower()),
                    "metric": one.value,
                    "epochs": 0 if last is None else last,
                    **{name: one.params.get(name) for name in self._space},
                    "seconds": (done - begun).total_seconds() if begun and done else None,
                    "why": one.user_attrs.get(_WHY, ""),
                    "run": one.user_attrs.get(_RUN, ""),
                }
            )
        return pd.DataFrame(rows)

    def importances(self) -> dict[str, float]:
        """Give each setting's share in what made trials good (PED-ANOVA), largest first.

        Empty where too few trials are finished, or all are alike.
        """
        if len(self._trials(TrialState.COMPLETE)) < _STARTUP_TRIALS:
            return {}
        with _settled_enough():
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            try:
                return optuna.importance.get_param_importances(self._study, evaluator=evaluator)
            except (RuntimeError, ValueError):
                return {}

    def _trials(self, *states: TrialState) -> "Sequence[optuna.trial.FrozenTrial]":
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _counted(self) -> int:
        return sum(
            one.state != TrialState.WAITING and not one.user_attrs.get(_DIED, False)
            for one in self._trials()
        )


def _sampler(seed: int) -> "optuna.samplers.BaseSampler":
    """Draw by the tree-structured Parzen estimator, away from what others are trying just now."""
    with _settled_enough():
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


@contextmanager
def _settled_enough() -> Iterator[None]:
    """Keep back that a part of Optuna may change: the versions that are allowed are known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _distribution(one: Any) -> "optuna.distributions.BaseDistribution":
    if not isinstance(one, Range):
        return optuna.distributions.CategoricalDistribution(one.labels())
    if one.whole:
        step = 1 if one.step is None else int(one.step)
        return optuna.distributions.IntDistribution(int(one.low), int(one.high), one.log, step)
    step_ = None if one.step is None else float(one.step)
    return optuna.distributions.FloatDistribution(float(one.low), float(one.high), one.log, step_)


def _refuse_mlflows(url: str) -> None:
    """Refuse MLflow's database before anything is written to it: tables have the same names."""
    engine = create_engine(url)
    try:
        if inspect(engine).has_table("experiments"):
            raise InputError(
                f"--storage {url} is a database of MLflow's, and Optuna needs one of its own: give "
                "another file, or leave out --storage"
            )
    finally:
        engine.dispose()


@contextmanager
def _readable(url: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (SQLAlchemyError, optuna.exceptions.OptunaError, *_UNUSABLE) as error:
        raise InputError(
            f"--storage {url} cannot be used ({reason(error)}): give a file, or the URL of a "
            "database of Optuna's"
        ) from error

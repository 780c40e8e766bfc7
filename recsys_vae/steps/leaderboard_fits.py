"""The fits of a leaderboard: settings chosen on validation, lists kept, nothing done twice."""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsys_vae.errors import InputError, UnusableSettingsError, reason
from recsys_vae.evaluation.evaluate import mean_metric, ranked
from recsys_vae.evaluation.measures import ALL_LENGTHS
from recsys_vae.files import atomic_file, read_json, write_json
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import TopN
from recsys_vae.splitting import FoldIn, Split
from recsys_vae.steps.cost import Spent, forget_peak, peak_mb
from recsys_vae.steps.leaderboard_table import Fitted
from recsys_vae.steps.recipes import Recipe, merged
from recsys_vae.steps.search import drawn
from recsys_vae.tracking.runs import StepRun

VALIDATION_USERS: Final = 10_000
"""Settings are chosen on at most so many users, drawn by seed 0, as many as Liang et al. 2018."""
_DRAWS: Final = 0
"""Seed of what is drawn from search spaces."""
_AGAIN: Final = "delete it to make it again"
_NUMBER: Final = (int, float)
_CANDIDATE: Final = {"settings": dict, "validation": _NUMBER, "seconds": _NUMBER}
_FACTS: Final = {"settings": dict, "seconds": _NUMBER, "peak_mb": _NUMBER, "k": int}
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardOptions:
    """What is compared, and how.

    Attributes:
        split: a folder that `split` or `ready` wrote.
        recipes: model names, TOML files, or one folder of TOML files.
        metrics: of the test; "all" for every measure at 10, 20, 50 and 100.
        choose_by: validation metric that settings and early stopping follow.
        sort_by: test metric to sort by; None: as `choose_by`.
        trials: how many candidates a model has: those of its recipe, then such as are drawn from
            its [search], for every model the same number; 0: those of the recipe alone.
        budget: seconds that a model may take for its candidates after the first: another is begun
            while one that takes as long as the longest so far would be within them; None: no end.
        refit: whether to learn from the validation part, too, once settings are chosen; "auto":
            where judged users train.
        seed: of fits without seeds in their recipe.
        device: "auto", "cpu" or "cuda".
        table: a Markdown file to write the table to, or None.
        out: folder of the results.
    """

    split: Path
    recipes: Sequence[str]
    metrics: Sequence[str] = ("all",)
    choose_by: str = "ndcg@100"
    sort_by: str | None = None
    trials: int = 0
    budget: float | None = None
    refit: Literal["auto", "yes", "no"] = "auto"
    seed: int = 0
    device: str = "auto"
    table: Path | None = None
    out: Path


@dataclass(frozen=True, slots=True)
class Fit:
    """One fit: what is known of it, and where its lists lie."""

    fitted: Fitted
    lists: Path

    def blocks(self, n_users: int) -> Iterator[TopN]:
        """Read the lists of the test users.

        Raises:
            InputError: they are damaged, or not those of so many users.
        """
        try:
            stored = load_file(self.lists)
            items_BK, scores_BK = stored["items_BK"], stored["scores_BK"]
            if len(items_BK) != n_users:
                raise ValueError(f"it has {len(items_BK)} lists instead of {n_users}")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(f"{self.lists} is damaged ({reason(error)}): {_AGAIN}") from error
        for start in range(0, n_users, 500):
            yield TopN(items_BK[start : start + 500], scores_BK[start : start + 500])


class Work:
    """Chooses settings and fits, recipe by recipe; what lies there already is read."""

    def __init__(self, options: LeaderboardOptions, parts: Split, k: int, say: Say) -> None:
        """Prepare; `k` is the longest list that is judged."""
        self._options, self._parts, self._say = options, parts, say
        # Long enough for what may be asked of the lists later.
        self._k = min(max(k, *ALL_LENGTHS), len(parts.train.items))
        self._validation = _some_users(parts.validation)
        weak = parts.generalization == "weak"
        self._refit = options.refit == "yes" or (options.refit == "auto" and weak)
        self._whole: Interactions | None = None

    def fits(self, recipe: Recipe, run: StepRun) -> Iterator[Fit]:
        """Choose, then fit with each seed; what is there already is read."""
        folder = self._options.out / "fits" / recipe.label
        chosen = self._choose(recipe, folder)
        seeds = recipe.seeds or (self._options.seed,)
        for seed in seeds:
            lists, facts = folder / f"seed-{seed}.safetensors", folder / f"seed-{seed}.json"
            asked = {"model": recipe.model, "settings": chosen["settings"]}
            if not self._fitted(lists, facts, asked):
                self._fit(recipe, asked, seed, lists, facts)
            _clear(folder / f"unfinished-{seed}")
            known = _known(facts, _FACTS)
            fitted = Fitted(
                label=recipe.label,
                model=recipe.model,
                settings=known["settings"],
                seed=seed,
                validation=chosen["validation"],
                candidates=chosen["candidates"],
                seconds=known["seconds"],
                choice_seconds=chosen["seconds"],
                peak_mb=known["peak_mb"],
            )
            run.metrics({f"{recipe.label}_fit_seconds": fitted.seconds})
            if fitted.candidates:
                name = f"{recipe.label}_validation_{self._options.choose_by}"
                run.metrics({name: fitted.validation})
            yield Fit(fitted, lists)

    def _fitted(self, lists: Path, facts: Path, asked: dict[str, Any]) -> bool:
        """Say whether there are lists of these settings, and long enough ones."""
        if not (facts.is_file() and lists.is_file()):
            return False
        known = _known(facts, _FACTS)
        return int(known["k"]) >= self._k and known.get("asked", asked) == asked

    def _choose(self, recipe: Recipe, folder: Path) -> dict[str, Any]:
        """Judge every candidate on validation, one after the other; give the best."""
        candidates = self._candidates(recipe)
        if candidates == [{}]:
            only = make_model(recipe.model, recipe.settings)
            if not only.chooses:
                settings = only.config.model_dump(mode="json")
                return {"settings": settings, "validation": math.nan, "seconds": 0, "candidates": 0}
        seed = (recipe.seeds or (self._options.seed,))[0]
        tried = list[dict[str, Any]]()
        for number, candidate in enumerate(candidates):
            path = folder / f"candidate-{number}.json"
            settings = merged(recipe.settings, candidate)
            asked = {"model": recipe.model, "asked": settings, "seed": seed}
            # A folder each: of an unfinished training only the same one can go on.
            unfinished = folder / f"unfinished-candidate-{number}"
            if not path.is_file():
                if self._over([one["seconds"] for one in tried]):
                    left = len(candidates) - number
                    self._say(f"{recipe.label}: {left} candidates left out, the budget is used up")
                    break
                self._say(f"{recipe.label}: candidate {number + 1} {candidate or ''}".rstrip())
                folder.mkdir(parents=True, exist_ok=True)
                alone = len(candidates) == 1
                tested = self._candidate(recipe, settings, seed, unfinished, alone=alone)
                write_json(path, {**asked, **tested})
            _clear(unfinished)
            found = _known(path, _CANDIDATE)
            if any(found.get(name, value) != value for name, value in asked.items()):
                raise InputError(
                    f"{path} was made with other settings than recipe {recipe.label} has now "
                    f"(model, seed and all): delete {folder}, or give another --out"
                )
            what = found.get("why") or f"validation {found['validation']:.4f}"
            self._say(f"{recipe.label}: {what} {candidate or ''}".rstrip())
            tried.append(found)
        # What could not be learned or gives scores that are not finite is never the best.
        best = max(tried, key=lambda one: (not math.isnan(one["validation"]), one["validation"]))
        if "why" in best:
            raise InputError(
                f"recipe {recipe.label}: none of {len(tried)} candidates could be learned "
                f"({best['why']}): change the recipe, and delete {folder}"
            )
        seconds = sum(one["seconds"] for one in tried)
        return {**best, "seconds": seconds, "candidates": len(tried)}

    def _candidates(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Give the settings to choose among, on top of the recipe's own."""
        given = list(recipe.candidates) or [{}]
        if not self._options.trials:
            return given
        more = max(self._options.trials - len(given), 0)
        return given[: self._options.trials] + drawn(recipe.search, more, _DRAWS)

    def _over(self, seconds: list[float]) -> bool:
        """Say whether another candidate would be beyond the budget."""
        budget = self._options.budget
        return bool(seconds) and budget is not None and sum(seconds[1:]) + max(seconds) > budget

    def _candidate(
        self, recipe: Recipe, settings: dict[str, Any], seed: int, unfinished: Path, *, alone: bool
    ) -> dict[str, Any]:
        """Judge one candidate; one among several may fail, and then says why."""
        spent = Spent(_spent(unfinished))
        model = make_model(recipe.model, settings)
        options = FitOptions(
            seed=seed,
            device=self._options.device,
            validate=self._validate,
            on_epoch=spent.epoch,
            progress=True,
            checkpoint=unfinished,
        )
        try:
            model.fit(self._parts.train, options)
            validation = self._validate(model)
        except (UnusableSettingsError, MemoryError) as error:
            if alone:
                raise
            failed = {"validation": math.nan, "settings": settings, "seconds": spent.seconds()}
            return {**failed, "why": str(error) or "there was too little memory"}
        return {
            "validation": validation,
            "settings": model.settled().model_dump(mode="json"),
            "seconds": spent.seconds(),
        }

    def _fit(
        self, recipe: Recipe, asked: dict[str, Any], seed: int, lists: Path, facts: Path
    ) -> None:
        self._say(f"{recipe.label}: fit with the chosen settings, seed {seed}")
        model = make_model(recipe.model, asked["settings"])
        data = self._learned_from()
        unfinished = lists.parent / f"unfinished-{seed}"
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        spent = Spent(_spent(unfinished))
        options = FitOptions(
            seed=seed,
            device=self._options.device,
            on_epoch=spent.epoch,
            progress=True,
            checkpoint=unfinished,
        )
        forget_peak()
        model.fit(data, options)
        seconds = spent.seconds()
        # What was known of other lists must not stand beside these, wherever this stops.
        facts.unlink(missing_ok=True)
        self._rank(model, lists)
        settings = model.config.model_dump(mode="json")
        known = {"settings": settings, "seconds": seconds, "peak_mb": peak_mb(), "k": self._k}
        write_json(facts, {"asked": asked, **known})

    def _learned_from(self) -> Interactions:
        if not self._refit:
            return self._parts.train
        if self._whole is None:
            self._whole = self._parts.with_validation()
        return self._whole

    def _validate(self, model: Recommender) -> float:
        return mean_metric(model, self._validation, self._options.choose_by)

    def _rank(self, model: Recommender, path: Path) -> None:
        blocks = list(ranked(model, self._parts.test, self._k))
        arrays = {
            "items_BK": np.concatenate([one.items_BK for one in blocks]),
            "scores_BK": np.concatenate([one.scores_BK for one in blocks]),
        }
        try:
            with atomic_file(path) as temporary:
                save_file(arrays, temporary)
        except SafetensorError as error:
            raise InputError(
                f"{path} cannot be written ({reason(error)}): free some space"
            ) from error


def _known(path: Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Read what was written of a candidate or fit.

    Raises:
        InputError: an entry is absent or of another type.
    """
    found = read_json(path, what="a fit of a leaderboard", remedy=_AGAIN)
    wrong = next(
        (name for name, kind in kinds.items() if not isinstance(found.get(name), kind)), ""
    )
    if wrong:
        raise InputError(f"{path} is damaged (its '{wrong}' is {found.get(wrong)!r}): {_AGAIN}")
    return found


def _some_users(fold: FoldIn) -> FoldIn:
    n_users = len(fold.given.users)
    if n_users <= VALIDATION_USERS:
        return fold
    drawn = np.random.default_rng(0).choice(n_users, VALIDATION_USERS, replace=False)
    return FoldIn(fold.given.rows(drawn), fold.held_out.rows(drawn))


def _spent(unfinished: Path) -> Path:
    """Give the file that remembers the seconds of an unfinished fit."""
    return unfinished.with_name(f"{unfinished.name}-seconds.json")


def _clear(unfinished: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    _spent(unfinished).unlink(missing_ok=True)

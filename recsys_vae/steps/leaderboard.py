"""leaderboard: settings chosen on validation, models fitted and judged; stopped and continued."""

import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recsys_vae.errors import InputError, reason
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.comparison import Comparison, compare
from recsys_vae.evaluation.evaluate import judge, mean_metric, ranked
from recsys_vae.evaluation.measures import ALL_LENGTHS, Metric, parse_metric, parse_metrics
from recsys_vae.files import atomic_file, check_replaceable, read_json, write_json
from recsys_vae.interactions import Interactions
from recsys_vae.models.base import FitOptions, Recommender
from recsys_vae.models.zoo import make_model
from recsys_vae.ranking import TopN
from recsys_vae.splitting import FoldIn, Split, load_split
from recsys_vae.steps.judged import CONTENTS as JUDGED_CONTENTS
from recsys_vae.steps.judged import Judged, read_entries, save_judged
from recsys_vae.steps.leaderboard_table import Fitted, write_table
from recsys_vae.steps.recipes import Recipe, merged, read_recipe
from recsys_vae.tracking.runs import StepRun, step_run
from recsys_vae.training.device import choose_device

VALIDATION_USERS: Final = 10_000
"""Settings are chosen on at most so many users, drawn by seed 0, as many as Liang et al. 2018."""
_IDENTITY: Final = "leaderboard.json"
_EVALUATION: Final = "evaluation"
_REMEDY: Final = "give an empty --out, or the same split and options as before"
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
    refit: Literal["auto", "yes", "no"] = "auto"
    seed: int = 0
    device: str = "auto"
    table: Path | None = None
    out: Path


def leaderboard(options: LeaderboardOptions, say: Say = lambda _line: None) -> Comparison:
    """Choose, fit, rank, judge and compare; what lies in `out` already is not done again.

    Every candidate is judged on validation, by the same users; the best is fitted with every seed
    of its recipe, and ranks the test users' items once. The lists are kept, so that other metrics
    cost no other fit.

    Args:
        options: what to do.
        say: is told, line by line, what is being done.

    Returns:
        The comparison on the test users.

    Raises:
        InputError: a recipe or the split is unusable, or `out` holds results of another split.
    """
    asked = parse_metrics(options.metrics)
    parse_metric(options.choose_by)
    sort_by = options.sort_by or options.choose_by
    if parse_metric(sort_by) not in asked:
        raise InputError(f"--sort-by {sort_by} is not among --metrics: add it there")
    choose_device(options.device)
    recipes = _recipes(options.recipes)
    for recipe in recipes:
        for candidate in recipe.candidates or ({},):
            make_model(recipe.model, merged(recipe.settings, candidate))
    with step_run("leaderboard", system_metrics=True) as run:
        parts = load_split(options.split)
        _claim(options, parts)
        run.params("leaderboard", {"recipes": ",".join(one.label for one in recipes)})
        run.params("leaderboard", {"choose_by": options.choose_by, "refit": options.refit})
        run.dataset(parts.train, "train", "train")
        run.dataset(parts.test.held_out, "test", "test")
        work = _Work(options, parts, max(one.k for one in asked), say)
        fits = [fit for recipe in recipes for fit in work.fits(recipe, run)]
        say("judge")
        judged = list(_judged(fits, parts, asked))
        save_judged(judged, parts.test, options.out / _EVALUATION, described={"part": "test"})
        entries = read_entries([(str(options.out), options.out / _EVALUATION)])
        comparison = compare(entries, sort_by)
        run.table(comparison.leaderboard, "leaderboard.json")
        run.artifact(options.out / _EVALUATION, "evaluation")
        for one in judged:
            run.metrics({f"{one.model}_{key}": value.mean for key, value in one.estimates.items()})
        if options.table is not None:
            write_table(
                options.table, comparison, [one.fitted for one in fits], parts, options.split
            )
            run.artifact(options.table)
        return comparison


@dataclass(frozen=True, slots=True)
class _Fit:
    fitted: Fitted
    lists: Path

    def blocks(self, n_users: int) -> Iterator[TopN]:
        try:
            stored = load_file(self.lists)
            items_BK, scores_BK = stored["items_BK"], stored["scores_BK"]
            if len(items_BK) != n_users:
                raise ValueError(f"it has {len(items_BK)} lists instead of {n_users}")
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{self.lists} is damaged ({reason(error)}): delete it to make it again"
            ) from error
        for start in range(0, n_users, 500):
            yield TopN(items_BK[start : start + 500], scores_BK[start : start + 500])


class _Work:
    def __init__(self, options: LeaderboardOptions, parts: Split, k: int, say: Say) -> None:
        self._options, self._parts, self._say = options, parts, say
        # Long enough for what may be asked of the lists later.
        self._k = min(max(k, *ALL_LENGTHS), len(parts.train.items))
        self._validation = _some_users(parts.validation)
        weak = parts.generalization == "weak"
        self._refit = options.refit == "yes" or (options.refit == "auto" and weak)
        self._whole: Interactions | None = None

    def fits(self, recipe: Recipe, run: StepRun) -> Iterator[_Fit]:
        """Choose, then fit with each seed; what is there already is read."""
        folder = self._options.out / "fits" / recipe.label
        chosen = self._choose(recipe, folder)
        seeds = recipe.seeds or (self._options.seed,)
        for seed in seeds:
            lists, facts = folder / f"seed-{seed}.safetensors", folder / f"seed-{seed}.json"
            if not self._fitted(lists, facts):
                self._fit(recipe, chosen, seed, lists, facts)
            known = read_json(facts, what="a fit", remedy=_REMEDY)
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
            yield _Fit(fitted, lists)

    def _fitted(self, lists: Path, facts: Path) -> bool:
        """Say whether there are lists, and long enough ones."""
        if not (facts.is_file() and lists.is_file()):
            return False
        return int(read_json(facts, what="a fit", remedy=_REMEDY).get("k", 0)) >= self._k

    def _choose(self, recipe: Recipe, folder: Path) -> dict[str, Any]:
        """Judge every candidate on validation, one after the other; give the best."""
        only = make_model(recipe.model, recipe.settings)
        if not recipe.candidates and not only.chooses:
            settings = only.config.model_dump(mode="json")
            return {"settings": settings, "validation": float("nan"), "seconds": 0, "candidates": 0}
        tried = []
        for number, candidate in enumerate(recipe.candidates or ({},)):
            path = folder / f"candidate-{number}.json"
            settings = merged(recipe.settings, candidate)
            if not path.is_file():
                self._say(f"{recipe.label}: candidate {number + 1} {candidate or ''}".rstrip())
                folder.mkdir(parents=True, exist_ok=True)
                write_json(path, {"asked": settings, **self._candidate(recipe, settings, folder)})
            found = read_json(path, what="a candidate", remedy=_REMEDY)
            if found.get("asked") != settings:
                raise InputError(
                    f"{path} was made with other settings than recipe {recipe.label} has now: "
                    f"delete {folder}, or give another --out"
                )
            self._say(
                f"{recipe.label}: validation {found['validation']:.4f} {candidate or ''}".rstrip()
            )
            tried.append(found)
        best = max(tried, key=lambda one: float(one["validation"]))
        seconds = sum(one["seconds"] for one in tried)
        return {**best, "seconds": seconds, "candidates": len(tried)}

    def _candidate(self, recipe: Recipe, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
        model = make_model(recipe.model, settings)
        seed = (recipe.seeds or (self._options.seed,))[0]
        options = FitOptions(
            seed=seed,
            device=self._options.device,
            validate=self._validate,
            progress=True,
            checkpoint=folder / "unfinished",
        )
        started = time.perf_counter()
        model.fit(self._parts.train, options)
        seconds = time.perf_counter() - started
        found: dict[str, Any] = {
            "validation": self._validate(model),
            "settings": model.settled().model_dump(mode="json"),
            "seconds": seconds,
        }
        _clear(folder / "unfinished")
        return found

    def _fit(
        self, recipe: Recipe, chosen: dict[str, Any], seed: int, lists: Path, facts: Path
    ) -> None:
        self._say(f"{recipe.label}: fit with the chosen settings, seed {seed}")
        model = make_model(recipe.model, chosen["settings"])
        folder = lists.parent / f"unfinished-{seed}"
        options = FitOptions(
            seed=seed, device=self._options.device, progress=True, checkpoint=folder
        )
        data = self._learned_from()
        _forget_peak()
        started = time.perf_counter()
        model.fit(data, options)
        seconds = time.perf_counter() - started
        self._rank(model, lists)
        settings = model.config.model_dump(mode="json")
        known = {"settings": settings, "seconds": seconds, "peak_mb": _peak_mb(), "k": self._k}
        write_json(facts, known)
        _clear(folder)

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


def _recipes(references: Sequence[str]) -> list[Recipe]:
    if len(references) == 1 and Path(references[0]).is_dir():
        references = [str(one) for one in sorted(Path(references[0]).glob("*.toml"))]
    recipes = [read_recipe(one) for one in references]
    if not recipes:
        raise InputError("--recipes names no recipe: give models, TOML files or a folder of them")
    labels = [one.label for one in recipes]
    twice = next((one for one in labels if labels.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"--recipes names {twice} twice: give the files different names")
    return recipes


def _claim(options: LeaderboardOptions, parts: Split) -> None:
    """Refuse a folder with results of something else; write down whose results these will be."""
    identity = {
        "train": parts.train.fingerprint,
        "validation": parts.validation.held_out.fingerprint,
        "test": parts.test.held_out.fingerprint,
        "choose_by": options.choose_by,
        "refit": options.refit,
    }
    path = options.out / _IDENTITY
    if path.is_file():
        before = read_json(path, what="a leaderboard", remedy=_REMEDY)
        wrong = next((name for name, value in identity.items() if before.get(name) != value), None)
        if wrong is not None:
            raise InputError(f"{options.out} holds results of another '{wrong}': {_REMEDY}")
        return
    check_replaceable(options.out, ())
    check_replaceable(options.out / _EVALUATION, JUDGED_CONTENTS)
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(path, identity)


def _some_users(fold: FoldIn) -> FoldIn:
    n_users = len(fold.given.users)
    if n_users <= VALIDATION_USERS:
        return fold
    drawn = np.random.default_rng(0).choice(n_users, VALIDATION_USERS, replace=False)
    return FoldIn(fold.given.rows(drawn), fold.held_out.rows(drawn))


def _judged(fits: Sequence[_Fit], parts: Split, asked: Sequence[Metric]) -> Iterator[Judged]:
    catalogue = Catalogue.of(parts.train)
    n_users = len(parts.test.given.users)
    labels = [one.fitted.label for one in fits]
    for one in fits:
        fitted = one.fitted
        found = judge(one.blocks(n_users), parts.test, asked, catalogue=catalogue)
        several = labels.count(fitted.label) > 1
        label = f"{fitted.label} seed {fitted.seed}" if several else fitted.label
        yield Judged(
            label, found.estimates(), found, fitted.model, fitted.settings, fitted.seed,
            group=fitted.label,
        )  # fmt: skip


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _forget_peak() -> None:
    """Begin to measure memory anew, where the system can."""
    if platform.system() == "Linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return


def _peak_mb() -> float:
    """Give the most memory that was held since `_forget_peak`, in MB."""
    if platform.system() == "Linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

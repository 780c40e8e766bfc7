"""promote: a challenger that is ahead on the same users takes the champion's place, or is told why.

What is compared, and in which order a refusal is told: quality, coverage, latency, size.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.evaluate import Evaluation, evaluate
from recsys_vae.evaluation.measures import parse_metric
from recsys_vae.evaluation.significance import Difference, differences
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model
from recsys_vae.ranking import Ranker
from recsys_vae.splitting import FoldIn, load_split
from recsys_vae.tracking.champion import CHAMPION, challenger, crown, roll_back, version_called
from recsys_vae.tracking.registry import CHALLENGER, model_folder
from recsys_vae.tracking.runs import step_run

_COVERAGE: Final = "coverage@20"
_TIMED_USERS: Final = 1_024
_REPEATS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteOptions:
    """What a challenger has to show.

    Attributes:
        name: of the registered model.
        split: a folder that `split` wrote; its test users judge.
        metric: of quality, such as "ndcg@100".
        alpha: largest p of the paired test at which the challenger counts as ahead.
        accept_equal: whether it is enough not to be behind at that p.
        min_coverage: least share of the champion's coverage@20; 0: none.
        max_latency: largest multiple of the champion's time per user; 0: no limit.
        max_size: largest multiple of the champion's size on disk; 0: no limit.
        dry_run: whether to compare only.
        seed: of the test.
    """

    name: str
    split: Path
    metric: str = "ndcg@100"
    alpha: float = 0.05
    accept_equal: bool = False
    min_coverage: float = 0.8
    max_latency: float = 1.5
    max_size: float = 2.0
    dry_run: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """What one model has to show.

    Attributes:
        version: in the registry.
        quality: mean of the metric.
        coverage: share of the catalogue in anybody's 20 best.
        ms_per_user: milliseconds to rank for one user, of a block of many.
        mb: megabytes on disk.
    """

    version: str
    quality: float
    coverage: float
    ms_per_user: float
    mb: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it.

    Attributes:
        challenger: what it has to show.
        champion: likewise; None: there was none.
        difference: challenger minus champion, user by user; None: there was no champion.
        refused: why the challenger does not serve; empty: it may.
        promoted: whether it serves now.
        run_id: of the MLflow run.
    """

    challenger: Shown
    champion: Shown | None
    difference: Difference | None
    refused: tuple[str, ...]
    promoted: bool
    run_id: str

    @property
    def reason(self) -> str:
        """Say in a sentence why."""
        version = self.challenger.version
        if self.refused:
            return f"version {version} is refused: {'; '.join(self.refused)}"
        if self.difference is None or self.champion is None:
            return f"version {version} is the first champion: there was none to compare it with"
        one = self.difference
        return (
            f"version {version} is {'ahead of' if one.mean > 0 else 'level with'} version "
            f"{self.champion.version} by {one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}] "
            f"(p = {one.p:.4f}), within the guard rails"
        )

    def table(self) -> pd.DataFrame:
        """Give what both have to show, a row each."""
        both = {CHALLENGER: self.challenger, CHAMPION: self.champion}
        return pd.DataFrame([{"": k, **asdict(v)} for k, v in both.items() if v is not None])


def promote(options: PromoteOptions) -> Verdict:
    """Compare challenger and champion on the same users; promote or refuse.

    Raises:
        InputError: a model or the split is unusable, or they do not belong together.
    """
    parse_metric(options.metric)
    with step_run("promote") as run:
        run.params("promote", {k: str(v) for k, v in asdict(options).items()})
        new, old = challenger(options.name), version_called(options.name, CHAMPION)
        parts = load_split(options.split)
        catalogue = Catalogue.of(parts.train)
        judge = _Judge(options, parts.test, catalogue)
        new_found, new_shown = judge.look(new)
        old_shown: Shown | None = None
        difference: Difference | None = None
        refused: tuple[str, ...] = ()
        if old == new:
            old_shown, refused = new_shown, ("it is the champion already",)
        elif old is not None:
            old_found, old_shown = judge.look(old)
            pair = (new_found.per_user[options.metric], old_found.per_user[options.metric])
            difference = differences([pair], seed=options.seed)[0]
            refused = _refusals(options, new_shown, old_shown, difference)
        promoted = not refused and not options.dry_run
        if promoted:
            crown(options.name, new, instead_of=old)
        verdict = Verdict(new_shown, old_shown, difference, refused, promoted, run.run_id)
        for role, one in ((CHALLENGER, new_shown), (CHAMPION, old_shown)):
            if one is not None:
                values = {k: v for k, v in asdict(one).items() if k != "version"}
                run.metrics({f"{role}_{name}": value for name, value in values.items()})
        if difference is not None:
            run.metrics({f"difference_{k}": v for k, v in asdict(difference).items()})
        run.table(verdict.table(), "promotion.json")
        decision = "promoted" if promoted else "refused" if refused else "would be promoted"
        run.tags({"recsys_vae.decision": decision, "recsys_vae.reason": verdict.reason})
        return verdict


def go_back(name: str) -> str:
    """Let the previous champion serve again, and say so."""
    with step_run("promote") as run:
        before, now = roll_back(name)
        reason = f"version {now} of '{name}' serves again, in the place of {before}"
        run.tags({"recsys_vae.decision": "rolled back", "recsys_vae.reason": reason})
    return reason


@dataclass(frozen=True, slots=True)
class _Judge:
    options: PromoteOptions
    fold: FoldIn
    catalogue: Catalogue

    def look(self, version: str) -> tuple[Evaluation, Shown]:
        """See what a version has to show."""
        folder = model_folder(f"models:/{self.options.name}/{version}")
        model = load_model(folder)
        metrics = [self.options.metric, _COVERAGE]
        found = evaluate(model, self.fold, metrics, catalogue=self.catalogue)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shown = Shown(
            version,
            found.estimates(seed=self.options.seed)[self.options.metric].mean,
            found.overall[_COVERAGE],
            _ms_per_user(model, self.fold),
            size / 1e6,
        )
        return found, shown


def _ms_per_user(model: Recommender, fold: FoldIn) -> float:
    """Time the lists of a block of users: the quickest of a few tries, the first not counted."""
    given = fold.given.matrix[:_TIMED_USERS]
    ranker = Ranker(model, min(100, len(model.items)))
    ranker.lists(given)
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        ranker.lists(given)
        seconds.append(time.perf_counter() - started)
    return 1_000 * min(seconds) / int(given.shape[0])


def _refusals(
    options: PromoteOptions, new: Shown, old: Shown, difference: Difference
) -> tuple[str, ...]:
    refused = []
    one = difference
    said = f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}], p = {one.p:.4f}"
    if np.isnan(one.p):
        refused.append(f"nobody is judged by both in {options.metric}")
    elif one.mean < 0 and one.p <= options.alpha:
        refused.append(f"it is behind version {old.version} in {options.metric} ({said})")
    elif not options.accept_equal and not (one.mean > 0 and one.p <= options.alpha):
        refused.append(
            f"it is not surely ahead of version {old.version} in {options.metric} ({said})"
        )
    if new.coverage < options.min_coverage * old.coverage:
        refused.append(f"coverage@20 falls from {old.coverage:.3f} to {new.coverage:.3f}")
    if options.max_latency and new.ms_per_user > options.max_latency * old.ms_per_user:
        refused.append(f"a user takes {new.ms_per_user:.3f} ms instead of {old.ms_per_user:.3f}")
    if options.max_size and new.mb > options.max_size * old.mb:
        refused.append(f"its size is {new.mb:.1f} MB instead of {old.mb:.1f}")
    return tuple(refused)

"""promote: the challenger takes the champion's place, or is refused with a reason."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from recsys_vae.errors import InputError
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.comparison import Comparison, Entry, compare
from recsys_vae.evaluation.evaluate import Evaluation, evaluate
from recsys_vae.evaluation.latency import milliseconds_a_user
from recsys_vae.evaluation.measures import ACCURACY, DEFAULT_METRICS, parse_metric
from recsys_vae.evaluation.promotion import Cost, Rails, Verdict, decide
from recsys_vae.models.base import Recommender
from recsys_vae.models.translated import Translated, translated
from recsys_vae.models.zoo import load_model, model_fingerprint
from recsys_vae.splitting import FoldIn, Split, load_split
from recsys_vae.steps.seen import may_have_seen, refuse_to_judge_by_its_own_users
from recsys_vae.tracking.registry import REGISTERED_NAME, model_folder
from recsys_vae.tracking.runs import StepRun, step_run
from recsys_vae.tracking.standing import (
    ROLLED_BACK,
    OvertakenError,
    Standing,
    make_champion,
    note,
    roll_back,
    standing,
    was_rolled_back,
)

Outcome = Literal["promoted", "refused", "unchanged", "rolled back"]
_CHALLENGER, _CHAMPION = "challenger", "champion"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteOptions:
    """What to compare, and by what to decide.

    Attributes:
        split: a folder that `split` wrote, with the items of the challenger.
        name: of the registered model.
        part: whose users judge.
        metric: of accuracy, which decides.
        rails: what else the challenger must keep to.
        force: promote without comparing with the champion.
        dry_run: decide, but change nothing.
        seed: of the test and the intervals.
    """

    split: Path
    name: str = REGISTERED_NAME
    part: Literal["test", "validation"] = "test"
    metric: str = "ndcg@100"
    rails: Rails = field(default_factory=Rails)
    force: bool = False
    dry_run: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Promotion:
    """What came of it.

    Attributes:
        outcome: what was done, or would have been in a dry run.
        sentence: what and why, without a full stop.
        comparison: of both models; None where there was nothing to compare.
    """

    outcome: Outcome
    sentence: str
    comparison: Comparison | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    role: str
    version: str
    folder: Path
    model: Recommender
    megabytes: float

    @classmethod
    def of(cls, role: str, name: str, version: str) -> "_Candidate":
        folder = model_folder(f"models:/{name}/{version}")
        size = sum(file.stat().st_size for file in folder.iterdir())
        return cls(role, version, folder, load_model(folder), size / _MEGABYTE)

    def __str__(self) -> str:
        return f"version {self.version} (@{self.role})"


def promote(options: PromoteOptions) -> Promotion:
    """Compare the challenger with the champion on the same users, and promote or refuse it.

    Where there is no champion, the challenger becomes it.

    Returns:
        What was done, also logged as a run and noted on the version.

    Raises:
        InputError: there is no challenger, the split is unusable, or the challenger was trained on
            other items than the split's.
    """
    metric = parse_metric(options.metric)
    if metric.name not in ACCURACY:
        raise InputError(
            f"--metric {options.metric} is no measure of accuracy: choose one of "
            f"{', '.join(ACCURACY)}, with a list length"
        )
    with step_run("promote") as run:
        before = standing(options.name)
        if before.challenger is None:
            raise InputError(
                f"'{options.name}' has no version with the alias '{_CHALLENGER}': register one "
                f"with 'recsys-vae train --register {options.name}'"
            )
        run.params("promote", {**asdict(options), "split": str(options.split)})
        run.tags(
            {
                "recsys_vae.challenger": before.challenger,
                "recsys_vae.champion": before.champion or "none",
            }
        )
        comparison = None
        if before.challenger == before.champion:
            why = f"version {before.challenger} is the champion already"
            done = Promotion("unchanged", why)
        elif not options.force and was_rolled_back(options.name, before.challenger):
            done = Promotion(
                "refused",
                f"version {before.challenger} is refused: it was champion and rolled back; "
                "register another, or use --force",
            )
        else:
            verdict, comparison = _judged(options, before, run)
            done = _carried_out(options, before, verdict, comparison, run)
        run.tags({"recsys_vae.verdict": done.outcome, "recsys_vae.reason": done.sentence})
        return done


def undo(name: str) -> Promotion:
    """Go back to the previous champion.

    Raises:
        InputError: there is none.
    """
    with step_run("promote") as run:
        before = roll_back(name)
        assert before.champion is not None  # roll_back has seen to it
        sentence = f"version {before.previous} is champion again, in place of {before.champion}"
        note(name, before.champion, ROLLED_BACK, sentence, run.run_id)
        run.params("promote", {"name": name, "rollback": True})
        run.tags({"recsys_vae.verdict": ROLLED_BACK, "recsys_vae.reason": sentence})
        return Promotion("rolled back", sentence)


def _carried_out(
    options: PromoteOptions,
    before: Standing,
    verdict: Verdict,
    comparison: Comparison | None,
    run: StepRun,
) -> Promotion:
    """Set the aliases, unless somebody was faster or nothing is to be changed."""
    challenger = before.challenger
    assert challenger is not None  # the caller has seen to it
    done: Outcome = "promoted" if verdict.promote else "refused"
    if options.dry_run:
        sentence = f"version {challenger} would be {done}: {verdict.reason}"
        return Promotion(done, sentence, comparison)
    sentence = f"version {challenger} is {done}: {verdict.reason}"
    if verdict.promote:
        try:
            make_champion(before, challenger)
        except OvertakenError as error:
            if error.champion == challenger:
                return Promotion("unchanged", str(error), comparison)
            sentence = f"version {challenger} is refused: {error}; promote again to compare both"
            return Promotion("refused", sentence, comparison)
    note(options.name, challenger, done, sentence, run.run_id)
    return Promotion(done, sentence, comparison)


def _judged(
    options: PromoteOptions, before: Standing, run: StepRun
) -> tuple[Verdict, Comparison | None]:
    """Judge the challenger, beside the champion where there is one."""
    assert before.challenger is not None  # the caller has seen to it
    candidates = [_Candidate.of(_CHALLENGER, options.name, before.challenger)]
    if before.champion is not None and not options.force:
        candidates.append(_Candidate.of(_CHAMPION, options.name, before.champion))
        if len({model_fingerprint(one.folder) for one in candidates}) == 1:
            return Verdict(False, f"it is the very model that {candidates[1]} is"), None
    parts = load_split(options.split)
    for one in candidates:
        refuse_to_judge_by_its_own_users(one.folder, parts, str(one))
    models = _on_the_splits_items(candidates, parts, options)
    fold = parts.test if options.part == "test" else parts.validation
    run.dataset(fold.held_out, options.part, "evaluate")
    entries, costs = _measured(candidates, models, parts, fold, options)
    if np.isnan(entries[0].per_user[options.metric]).all():
        raise InputError(
            f"no {options.part} user of {options.split} has a held-out item: split with more "
            "--held-out-users, or keep users with at least 5 items"
        )
    comparison = compare(entries, options.metric, seed=options.seed)
    board = comparison.leaderboard
    run.table(board, "comparison.json")
    for model, name, mean in board[["model", "metric", "mean"]].itertuples(index=False):
        run.metrics({f"{model}_{name}": mean})
    for one, cost in zip(candidates, costs, strict=True):
        run.metrics({f"{one.role}_{name}": value for name, value in asdict(cost).items()})
    if len(candidates) == 1:
        why = "--force was given" if options.force else "there was no champion"
        return Verdict(True, why), comparison
    row = comparison.pairs[comparison.pairs["metric"] == options.metric].iloc[0]
    own = board[board["metric"] == options.metric].set_index("model")["mean"]
    verdict = decide(
        {str(k): v for k, v in row.items()}, options.metric, costs[1], costs[0], options.rails,
        means=(float(own[_CHAMPION]), float(own[_CHALLENGER])),
    )  # fmt: skip
    run.metrics({"difference": row["difference"], "p": row["p"]})
    if isinstance(models[1], Translated):
        known, all_items = models[1].known, len(models[1].items)
        run.metrics({"champion_items_known": known})
        why = f"{verdict.reason}; the champion knows {known:,} of the {all_items:,} items"
        verdict = replace(verdict, reason=why)
    seen = [str(one) for one in candidates if may_have_seen(one.folder, parts)]
    if seen:
        why = f"{verdict.reason}; {' and '.join(seen)} may have learned what this split holds out"
        verdict = replace(verdict, reason=why)
    run.table(pd.DataFrame([asdict(one) for one in verdict.checks]), "checks.json")
    return verdict, comparison


def _measured(
    candidates: Sequence[_Candidate],
    models: Sequence[Recommender],
    parts: Split,
    fold: FoldIn,
    options: PromoteOptions,
) -> tuple[list[Entry], list[Cost]]:
    k = parse_metric(options.metric).k
    coverage = f"coverage@{k}"
    asked = list(dict.fromkeys([options.metric, *DEFAULT_METRICS, coverage]))
    catalogue = Catalogue.of(parts.train)
    found: list[Evaluation] = [evaluate(one, fold, asked, catalogue=catalogue) for one in models]
    given = fold.given.matrix
    latencies = milliseconds_a_user(
        # A translation would take time that no server takes.
        [
            (one.model, one.in_its_words(given)) if isinstance(one, Translated) else (one, given)
            for one in models
        ],
        k,
    )
    entries = [
        Entry(
            one.role,
            (0,),
            {name: values[None] for name, values in result.per_user.items()},
            {name: (value,) for name, value in result.overall.items()},
        )
        for one, result in zip(candidates, found, strict=True)
    ]
    costs = [
        Cost(coverage=result.overall[coverage], latency=latency, size=one.megabytes)
        for one, result, latency in zip(candidates, found, latencies, strict=True)
    ]
    return entries, costs


def _on_the_splits_items(
    candidates: Sequence[_Candidate], parts: Split, options: PromoteOptions
) -> list[Recommender]:
    """Give models that all answer about the items of the split, which are the challenger's."""
    challenger, *champion = candidates
    items = parts.train.items
    if challenger.model.items.fingerprint != items.fingerprint:
        raise InputError(
            f"{options.split} has other items than {challenger} of '{options.name}' was trained "
            "on: give the split that it was trained on"
        )
    models = [challenger.model]
    for one in champion:
        same = one.model.items.fingerprint == items.fingerprint
        models.append(one.model if same else translated(one.model, items))
    return models

"""leaderboard: settings chosen on validation, models fitted and judged; stopped and continued."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from recsys_vae.errors import InputError
from recsys_vae.evaluation.catalogue import Catalogue
from recsys_vae.evaluation.comparison import Comparison, compare
from recsys_vae.evaluation.evaluate import judge
from recsys_vae.evaluation.measures import ACCURACY, Metric, parse_metric, parse_metrics
from recsys_vae.files import check_replaceable, read_json, write_json
from recsys_vae.models.zoo import make_model
from recsys_vae.splitting import Split, load_split
from recsys_vae.steps.alone import LOCK, alone
from recsys_vae.steps.judged import CONTENTS as JUDGED_CONTENTS
from recsys_vae.steps.judged import Judged, read_entries, save_judged
from recsys_vae.steps.leaderboard_fits import Fit, LeaderboardOptions, Say, Work
from recsys_vae.steps.leaderboard_table import write_table
from recsys_vae.steps.recipes import Recipe, merged, read_recipe
from recsys_vae.steps.search import start_values
from recsys_vae.tracking.runs import step_run
from recsys_vae.training.device import choose_device

__all__ = ["LeaderboardOptions", "leaderboard"]

_IDENTITY: Final = "leaderboard.json"
_TABLES: Final = (".md", ".markdown")
_EVALUATION: Final = "evaluation"
_REMEDY: Final = "give an empty --out, or the same split and options as before"


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
        InputError: a recipe or the split is unusable, `out` holds results of another split, or
            another process works there.
    """
    asked = parse_metrics(options.metrics)
    if parse_metric(options.choose_by).name not in ACCURACY:
        raise InputError(
            f"--choose-by {options.choose_by} does not say how well lists find what is held out: "
            f"give one of {', '.join(ACCURACY)}, for example ndcg@100"
        )
    if options.table is not None and options.table.is_dir():
        raise InputError(f"--table {options.table} is a folder: name a file in it")
    if options.table is not None:
        _check_table(options.table)
    sort_by = options.sort_by or options.choose_by
    if parse_metric(sort_by) not in asked:
        raise InputError(f"--sort-by {sort_by} is not among --metrics: add it there")
    choose_device(options.device)
    recipes = _recipes(options.recipes)
    for recipe in recipes:
        _check_settings(recipe, searched=options.trials > 0)
    with ExitStack() as stack, step_run("leaderboard", system_metrics=True) as run:
        parts = load_split(options.split)
        stack.enter_context(_alone_in(options.out))
        _claim(options.out / _IDENTITY, options, parts)
        run.params("leaderboard", {"recipes": ",".join(one.label for one in recipes)})
        run.params("leaderboard", {"choose_by": options.choose_by, "refit": options.refit})
        run.dataset(parts.train, "train", "train")
        run.dataset(parts.test.held_out, "test", "test")
        work = Work(options, parts, max(one.k for one in asked), say)
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
            fitted = [one.fitted for one in fits]
            write_table(options.table, comparison, fitted, parts, options.choose_by)
            run.artifact(options.table)
        return comparison


def _check_table(table: Path) -> None:
    """Refuse, before any fit, a file that is no table of ours or that cannot be written."""
    if table.suffix.lower() not in _TABLES:
        raise InputError(f"--table {table} has another suffix than .md: name a Markdown file")
    above = next(one for one in table.absolute().parents if one.exists())
    if not above.is_dir():
        raise InputError(f"--table {table}: {above} is no folder: name a file in one")


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


def _check_settings(recipe: Recipe, *, searched: bool) -> None:
    try:
        if searched:
            start_values(recipe.model, recipe.settings, recipe.search)
        for candidate in recipe.candidates or ({},):
            make_model(recipe.model, merged(recipe.settings, candidate))
    except InputError as error:
        raise InputError(f"recipe {recipe.label}: {error}") from error


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Take the folder, unless it holds something else or another process works there."""
    check_replaceable(out / _EVALUATION, JUDGED_CONTENTS)
    if not (out / _IDENTITY).is_file():
        check_replaceable(out, (LOCK, f".{_IDENTITY}.*"))
        out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        yield


def _claim(path: Path, options: LeaderboardOptions, parts: Split) -> None:
    """Refuse a folder with results of something else; write down whose results these will be."""
    identity = {
        "train": parts.train.fingerprint,
        "validation": parts.validation.held_out.fingerprint,
        "validation_given": parts.validation.given.fingerprint,
        "test": parts.test.held_out.fingerprint,
        "test_given": parts.test.given.fingerprint,
        "choose_by": options.choose_by,
        "refit": options.refit,
    }
    if not path.is_file():
        write_json(path, identity)
        return
    before = read_json(path, what="a leaderboard", remedy=_REMEDY)
    # Of a folder from before a name was written down nothing is known of it.
    wrong = next((one for one, value in identity.items() if before.get(one, value) != value), None)
    if wrong is not None:
        raise InputError(f"{options.out} holds results of another '{wrong}': {_REMEDY}")


def _judged(fits: Sequence[Fit], parts: Split, asked: Sequence[Metric]) -> Iterator[Judged]:
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

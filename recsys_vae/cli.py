"""The command line: one verb a step; wrong input ends in one sentence and exit code 2."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from recsys_vae import __version__
from recsys_vae.errors import InputError


class Verb(click.Command):
    """A command that takes an empty option value for "not given".

    MLflow passes every parameter of an entry point, the unset ones as empty text.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Drop options whose value is empty."""
        kept: list[str] = []
        position = 0
        while position < len(args):
            one = args[position]
            after = args[position + 1 : position + 2]
            if one.startswith("--") and (after == [""] or one.endswith("=")):
                position += 2 if after == [""] else 1
                continue
            kept.append(one)
            position += 1
        return super().parse_args(ctx, kept)


class Verbs(click.Group):
    """Keeps the verbs in the order of the pipeline."""

    command_class = Verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs as they were declared."""
        return list(self.commands)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _options(*decorators: Decorator) -> Decorator:
    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _path(*names: str, help: str, required: bool = False) -> Decorator:  # noqa: A002 # click's word
    return click.option(*names, type=click.Path(path_type=Path), required=required, help=help)


def _comma_separated(
    _ctx: click.Context, _option: click.Parameter, value: str | None
) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in (value or "").split(",") if part.strip())
    if value and not parts:
        raise click.BadParameter(f"'{value}' names nothing")
    return parts


_COLUMNS = _options(
    click.option("--user-column", help="column of user ids; default: by convention (userId...)"),
    click.option("--item-column", help="column of item ids; default: by convention (movieId...)"),
    click.option("--rating-column", help="column of ratings; default: by convention, or none"),
    click.option("--timestamp-column", help="column of times; default: by convention, or none"),
)
_CLEANING = _options(
    click.option(
        "--threshold",
        type=float,
        help="keep ratings above it; default: 3.5 for stars up to 5, otherwise 0",
    ),
    click.option("--min-user-items", type=click.IntRange(1), default=5, show_default=True),
    click.option("--min-item-users", type=click.IntRange(1), default=1, show_default=True),
    click.option(
        "--bad-rows",
        type=click.Choice(["refuse", "drop"]),
        default="refuse",
        show_default=True,
        help="rows whose rating is missing, infinite or negative",
    ),
)
_SPLITTING = _options(
    click.option(
        "--held-out-users",
        type=click.IntRange(1),
        help="validation users, and as many test users; default: a tenth of all, within 100 and "
        "10,000, at most a fifth",
    ),
    click.option(
        "--held-out-share",
        type=float,
        default=0.2,
        show_default=True,
        help="share of a held-out user's items that is to be found",
    ),
    click.option("--split-seed", type=int, default=98765, show_default=True),
)
_FITTING = _options(
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda"),
)
_FRESH = click.option(
    "--fresh", is_flag=True, help="start over even if an unfinished training lies there"
)
_RULES = _options(
    click.option("--allow", callback=_comma_separated, help="only these items, comma-separated"),
    click.option("--block", callback=_comma_separated, help="not these items, comma-separated"),
    click.option(
        "--mask-seen/--show-seen", default=True, help="leave out what the user has already taken"
    ),
)


def _columns(values: dict[str, Any]) -> Any:
    from recsys_vae.ingest.columns import ColumnNames

    roles = ("user", "item", "rating", "timestamp")
    return ColumnNames(**{role: values[f"{role}_column"] for role in roles})


def _cleaning(values: dict[str, Any]) -> Any:
    from recsys_vae.ingest.cleaning import CleaningOptions

    names = ("threshold", "min_user_items", "min_item_users", "bad_rows")
    return CleaningOptions(**{name: values[name] for name in names})


def _splitting(values: dict[str, Any]) -> Any:
    from recsys_vae.splitting import StrongOptions

    return StrongOptions(
        held_out_users=values["held_out_users"],
        held_out_share=values["held_out_share"],
        seed=values["split_seed"],
    )


@click.group(cls=Verbs, context_settings={"show_default": True, "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Recommend with variational autoencoders: from interaction files to lists, tracked by MLflow.

    Each verb reads folders that earlier verbs wrote and logs an MLflow run; `main` does them all.
    """


@cli.command()
@click.option("--data", default="sample", help="CSV, TSV or Parquet; 'sample': the embedded data")
@_path("--items", help="file of item titles, optional")
@_COLUMNS
@_CLEANING
@_path("--out", required=True, help="folder to write")
def ingest(**values: Any) -> None:
    """Read and clean a file of interactions; account for every row.

    Example: recsys-vae ingest --data ratings.csv --items movies.csv --out outputs/data
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.ingest import IngestOptions
    from recsys_vae.steps.ingest import ingest as step

    options = IngestOptions(
        data=values["data"],
        items=values["items"],
        columns=_columns(values),
        cleaning=_cleaning(values),
        out=values["out"],
    )
    done = step(options)
    click.echo(console.account(done))
    click.echo(f"written: {done.folder}")


@cli.command()
@_path("--data", required=True, help="folder that 'ingest' wrote")
@_SPLITTING
@_path("--out", required=True, help="folder to write")
def split(**values: Any) -> None:
    """Hold out users for validation and test (strong generalization, Liang et al. 2018).

    Example: recsys-vae split --data outputs/data --out outputs/split
    """
    from recsys_vae.splitting.split import counts
    from recsys_vae.steps.split import split as step

    done = step(data=values["data"], out=values["out"], options=_splitting(values))
    for name, count in counts(done).items():
        click.echo(f"{name.replace('_', ' '):40} {count:>12,}")
    click.echo(f"written: {values['out']}")


@cli.command()
@_path("--split", required=True, help="folder that 'split' wrote")
@click.option("--recipe", default="mult-vae", help="model name or TOML file")
@click.option("--set", "overrides", multiple=True, help="a setting, such as training.epochs=5")
@_FITTING
@_FRESH
@click.option("--register", help="name in MLflow's registry; default: not registered")
@_path("--out", required=True, help="folder to write the model to")
def train(**values: Any) -> None:
    """Fit a model; the weights with the best validation NDCG@100 are kept.

    An interrupted training goes on where it was when the same command is given again. Several
    processes train as one under torchrun: torchrun --nproc-per-node 2 -m recsys_vae train ...

    Example: recsys-vae train --split outputs/split --recipe mult-vae --out outputs/mult-vae
    """
    from recsys_vae.steps.recipes import read_recipe
    from recsys_vae.steps.train import VALIDATION_METRIC
    from recsys_vae.steps.train import train as step

    done = step(
        split=values["split"],
        recipe=read_recipe(values["recipe"], values["overrides"]),
        out=values["out"],
        seed=values["seed"],
        device=values["device"],
        register=values["register"],
        fresh=values["fresh"],
    )
    if done is None:
        return
    click.echo(
        f"{done.model.name}: validation {VALIDATION_METRIC} {done.validation:.4f} "
        f"after {done.seconds:.1f} s\nwritten: {done.folder}, in MLflow: {done.uri}"
    )


@cli.command()
@_path("--split", required=True, help="folder that 'split' wrote")
@click.option(
    "--model", "models", callback=_comma_separated, required=True,
    help="folders or MLflow URIs, comma-separated",
)  # fmt: skip
@click.option(
    "--part", type=click.Choice(["test", "validation"]), default="test", help="which users"
)
@click.option(
    "--metrics", callback=_comma_separated, default="recall@20,recall@50,ndcg@100",
    help="comma-separated",
)  # fmt: skip
@_path("--out", required=True, help="folder to write")
def evaluate(**values: Any) -> None:
    """Judge models on the same held-out users, with 95 % bootstrap intervals.

    Example: recsys-vae evaluate --split outputs/split --model outputs/mult-vae --out outputs/eval
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.evaluate import evaluate_models

    judged = evaluate_models(
        split=values["split"],
        models=values["models"],
        out=values["out"],
        part=values["part"],
        metrics=values["metrics"],
    )
    click.echo(console.leaderboard(judged))
    click.echo(f"written: {values['out']}")


@cli.command()
@click.option("--model", required=True, help="folder or MLflow URI (models:/recsys-vae@challenger)")
@_path("--histories", required=True, help="CSV, TSV, Parquet, or a folder of stored interactions")
@click.option("--users", callback=_comma_separated, help="user ids, comma-separated")
@click.option("--first", type=click.IntRange(1), default=3, help="how many, where none are named")
@click.option("--k", type=int, default=10, help="list length")
@_RULES
@_path("--items", help="file of item titles, optional")
@_COLUMNS
@_path("--out", help="file to write: .csv, .parquet or .jsonl; default: the screen only")
def recommend(**values: Any) -> None:
    """Make lists for named users.

    Example: recsys-vae recommend --model outputs/mult-vae --histories ratings.csv --users 1,7
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.recommend import RecommendOptions
    from recsys_vae.steps.recommend import recommend as step

    names = (
        "model", "histories", "users", "first", "k", "allow", "block", "mask_seen", "items", "out"
    )  # fmt: skip
    chosen = {name: values[name] for name in names}
    done = step(RecommendOptions(columns=_columns(values), **chosen))
    click.echo(console.lists(done))
    if values["out"] is not None:
        click.echo(f"\nwritten: {values['out']}")


@cli.command()
@click.option("--model", required=True, help="folder or MLflow URI (models:/recsys-vae@challenger)")
@_path("--histories", required=True, help="CSV, TSV, Parquet, or a folder of stored interactions")
@click.option("--k", type=int, default=100, help="list length")
@_RULES
@_COLUMNS
@click.option("--unsorted", is_flag=True, help="rows are not grouped by user: sort them in memory")
@click.option("--users-per-block", type=click.IntRange(1), default=1_000, help="scored at once")
@_path("--out", required=True, help="folder to write")
def score(**values: Any) -> None:
    """Make lists for every user of a file, streamed, into Parquet (user, rank, item, score).

    Example: recsys-vae score --model outputs/mult-vae --histories all.parquet --out outputs/lists
    """
    from recsys_vae.steps.score import ScoreOptions
    from recsys_vae.steps.score import score as step

    names = (
        "model", "histories", "k", "allow", "block", "mask_seen", "unsorted", "users_per_block",
        "out",
    )  # fmt: skip
    counts = step(ScoreOptions(columns=_columns(values), **{name: values[name] for name in names}))
    click.echo(
        f"{counts.users:,} users ({counts.without_history:,} without known history, "
        f"{counts.short_lists:,} with short lists), {counts.rows:,} rows; left out of the "
        f"histories: {counts.unknown_items:,} rows with unknown items, "
        f"{counts.below_threshold:,} below the threshold\nwritten: {values['out']}"
    )


@cli.command(name="main")
@click.option("--data", default="sample", help="CSV, TSV or Parquet; 'sample': the embedded data")
@_path("--items", help="file of item titles, optional")
@_COLUMNS
@_CLEANING
@_SPLITTING
@click.option(
    "--recipes", callback=_comma_separated, default="mult-vae,popularity,als",
    help="model names or TOML files, comma-separated; the first is registered and recommends",
)  # fmt: skip
@click.option("--k", type=click.IntRange(1), default=10, help="list length")
@_FITTING
@_FRESH
@_path("--out", help="folder to write; default: outputs/NAME-OF-THE-DATA")
def run_everything(**values: Any) -> None:
    """Do it all: ingest, split, train, evaluate, recommend and score, under one MLflow run.

    Example: recsys-vae main --data ratings.csv --items movies.csv
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.main import MainOptions, run_main
    from recsys_vae.steps.recipes import read_recipe

    options = MainOptions(
        data=values["data"],
        items=values["items"],
        columns=_columns(values),
        cleaning=_cleaning(values),
        splitting=_splitting(values),
        recipes=[read_recipe(reference) for reference in values["recipes"]],
        k=values["k"],
        seed=values["seed"],
        device=values["device"],
        fresh=values["fresh"],
        out=values["out"] or Path("outputs") / Path(values["data"]).stem,
    )
    click.echo(console.outcome(run_main(options)))


def _fail(sentence: str, code: int) -> NoReturn:
    click.echo(f"recsys-vae: {sentence}", err=True)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 on wrong input, 130 when interrupted."""
    # Read when torch is imported: threads that wait by spinning cost a shared machine dearly.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        cli.main(arguments, prog_name="recsys-vae", standalone_mode=False)
    except InputError as error:
        _fail(str(error), 2)
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "recsys-vae"
        sentence = error.format_message().replace(". Did you mean", ", did you mean").rstrip(".?")
        _fail(f"{sentence}: see '{verb} --help'", 2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}: nothing was left half-written", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted: nothing was left half-written", 130)

"""The command line: one verb a step; wrong input ends in one sentence and exit code 2."""

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from recsys_vae import __version__
from recsys_vae.cli_datasets import datasets
from recsys_vae.cli_judging import compare, evaluate, kl_curve, leaderboard
from recsys_vae.cli_lists import recommend, score
from recsys_vae.cli_models import models
from recsys_vae.cli_promote import promote, tidy
from recsys_vae.cli_report import report
from recsys_vae.cli_training import refit, train
from recsys_vae.cli_tuning import reproduce, tune
from recsys_vae.errors import InputError, reason
from recsys_vae.options import (
    CLEANING,
    COLUMNS,
    FITTING,
    FLAG,
    SEED,
    SPLITTING,
    TITLES,
    Verbs,
    cleaning_options,
    comma_separated,
    kind_option,
    path_option,
    read_options,
    splitting_options,
)

_UNFORESEEN = 70
"""Exit code of sysexits.h for a fault within the program."""


@click.group(cls=Verbs, context_settings={"show_default": True, "max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Recommend with variational autoencoders: from interaction files to lists, tracked by MLflow.

    Each verb reads folders that earlier verbs wrote and logs an MLflow run; `main` does them all.
    """


@cli.command()
@click.option(
    "--data", default="sample",
    help="file, zip archive or folder of interactions; 'sample': the embedded data",
)  # fmt: skip
@TITLES
@COLUMNS
@CLEANING
@path_option("--out", required=True, help="folder to write")
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
        reading=read_options(values),
        cleaning=cleaning_options(values),
        out=values["out"],
    )
    done = step(options)
    click.echo(console.account(done))
    click.echo(f"written: {done.folder}")


@cli.command()
@path_option("--data", required=True, help="folder that 'ingest' wrote")
@path_option("--against", help="earlier profile.json, or folder of 'profile' or 'ingest': drift")
@path_option("--out", required=True, help="folder to write")
def profile(**values: Any) -> None:
    """Say what the data are like and how they have drifted.

    In numbers and in a picture.

    Example: recsys-vae profile --data outputs/data --out outputs/profile
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.profile import profile_data

    done = profile_data(data=values["data"], against=values["against"], out=values["out"])
    click.echo(console.profiled(done))
    click.echo(f"written: {values['out']}")


@cli.command()
@path_option("--data", required=True, help="folder that 'ingest' wrote, or a part of a split")
@path_option("--out", required=True, help="Parquet file to write")
def export(**values: Any) -> None:
    """Write stored interactions to a Parquet file.

    For other programs, and for --engine spark.

    Example: recsys-vae export --data outputs/data --out outputs/all.parquet
    """
    from recsys_vae.steps.export import export as step

    done = step(data=values["data"], out=values["out"])
    click.echo(f"{done.rows:,} rows of {done.users:,} users: {', '.join(done.columns)}")
    click.echo(f"written: {values['out']}")


@cli.command()
@path_option("--data", required=True, help="folder that 'ingest' wrote")
@kind_option("--kind")
@SPLITTING
@path_option("--out", required=True, help="folder to write")
def split(**values: Any) -> None:
    """Hold out parts for validation and test.

    Whole users (Liang et al. 2018), the latest of each, a share, or all after a point in time.

    strong: judged users do not train. The other kinds judge the users who train, on other items.
    Only items that train are asked for; what is left out is counted.

    Example: recsys-vae split --data outputs/data --out outputs/split
    """
    from recsys_vae.splitting.split import counts
    from recsys_vae.steps.split import split as step

    done = step(data=values["data"], out=values["out"], options=splitting_options(values))
    shown = {name.replace("_", " "): count for name, count in counts(done).items()}
    for name, count in shown.items():
        click.echo(f"{name:{max(map(len, shown))}} {count:>12,}")
    click.echo(f"written: {values['out']}")


@cli.command()
@path_option("--train", required=True, help="file; or, without --test, a Mult-VAE protocol folder")
@path_option("--test", help="file of the same users' other interactions")
@path_option("--validation", help="likewise; default: a share of --train")
@click.option("--validation-share", type=float, default=0.1, help="of each user's items")
@click.option("--split-seed", type=SEED, default=98765)
@COLUMNS
@path_option("--out", required=True, help="folder to write")
def ready(**values: Any) -> None:
    """Take over a published split: train and test files, uncleaned.

    Example: recsys-vae ready --train gowalla/train.txt --test gowalla/test.txt --out outputs/split
    """
    from recsys_vae.splitting.split import counts
    from recsys_vae.steps.ready import take_over

    names = ("train", "test", "validation", "validation_share", "out")
    chosen = {name: values[name] for name in names}
    done = take_over(reading=read_options(values), seed=values["split_seed"], **chosen)
    for name, count in counts(done).items():
        click.echo(f"{name.replace('_', ' '):40} {count:>12,}")
    click.echo(f"written: {values['out']}")


_INTERRUPTED = (
    "interrupted: what was complete stays; train, refit, tune, score and leaderboard go on where "
    "they were when the same command is given again"
)

for verb in (train, refit, evaluate, compare, leaderboard, kl_curve):
    cli.add_command(verb)


for verb in (recommend, score, promote, tidy, report, tune, reproduce):
    cli.add_command(verb)


@cli.command(name="main")
@click.option(
    "--data", default="sample",
    help="file, zip archive or folder of interactions; 'sample': the embedded data",
)  # fmt: skip
@TITLES
@COLUMNS
@CLEANING
@kind_option("--split-kind")
@SPLITTING
@click.option(
    "--recipes", callback=comma_separated, default="linear-vae,popularity,als",
    help="model names or TOML files, comma-separated; the first is registered and recommends",
)  # fmt: skip
@click.option(
    "--set", "overrides", multiple=True, help="settings of models, such as als.factors=64"
)
@click.option("--k", type=click.IntRange(1), default=10, help="list length")
@FITTING
@click.option("--fresh", **FLAG, help="do every step again, whatever is there")
@click.option(
    "--refit", **FLAG,
    help="fit the first model again to everybody once it is judged, and score with that one",
)  # fmt: skip
@click.option("--register", default="recsys-vae", help="name in MLflow's registry")
@path_option("--out", help="folder to write; default: outputs/FOLDER-FILE of the data")
def run_everything(**values: Any) -> None:
    """Do it all, from a file to everybody's lists.

    ingest, split, train, evaluate, recommend and score, under one MLflow run. A step is not done
    again while its inputs, its options and the program are what they were, and what it left is
    there; an interrupted one goes on.

    Example: recsys-vae main --data ratings.csv --items movies.csv
    """
    from recsys_vae.steps.line import MainOptions
    from recsys_vae.steps.main import run_main
    from recsys_vae.steps.outcome import text
    from recsys_vae.steps.recipes import read_recipes

    options = MainOptions(
        data=values["data"],
        items=values["items"],
        reading=read_options(values),
        cleaning=cleaning_options(values),
        splitting=splitting_options(values, "split_kind"),
        recipes=read_recipes(values["recipes"], values["overrides"]),
        k=values["k"],
        seed=values["seed"],
        device=values["device"],
        register=values["register"],
        fresh=values["fresh"],
        refit=values["refit"],
        out=values["out"] or Path("outputs") / _name_of(values["data"]),
    )
    click.echo(text(run_main(options, lambda line: click.echo(line, err=True))))


cli.add_command(datasets)
cli.add_command(models)


def _name_of(data: str) -> str:
    """Name the data by folder and file: many files are called ratings.csv."""
    path = Path(data)
    stem = Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    folder = path.resolve().parent.name
    return stem if data == stem or not folder else f"{folder}-{stem}"


def _interrupt(_signal: int, _frame: object) -> None:
    """Make a polite kill the same as Ctrl-C: what is half-written is cleared away."""
    raise KeyboardInterrupt


def _refuse_no_text(arguments: list[str]) -> None:
    """Refuse arguments that are no text: their names could be written into no report."""
    for one in arguments:
        if "\0" in one or one.encode("utf-8", "replace").decode("utf-8") != one:
            shown = "".join(letter if letter.isprintable() else "?" for letter in one)
            _fail(f"the argument {shown} is no UTF-8 text: rename the file or folder", 2)


def _fail(sentence: str, code: int) -> NoReturn:
    click.echo(f"recsys-vae: {sentence}", err=True)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    0: success; 1: a verb's no, as of `promote`; 2: wrong input; 70: nobody expected it; 130:
    interrupted.
    """
    # Read when torch is imported: threads that wait by spinning cost a shared machine dearly.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    _refuse_no_text(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(arguments, prog_name="recsys-vae", standalone_mode=False)
    except InputError as error:
        _fail(str(error), 2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.message)
    except click.UsageError as error:
        verb = error.ctx.command_path if error.ctx else "recsys-vae"
        sentence = error.format_message().replace(". (Did you mean", ". Did you mean")
        sentence = sentence.replace(". Did you mean", ", did you mean").rstrip(".?)")
        _fail(f"{sentence}: see '{verb} --help'", 2)
    except OSError as error:
        where = error.filename or "a file"
        what = (error.strerror or str(error)).lower()
        _fail(f"{where} cannot be used ({what}): check path, permission and free space", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail(_INTERRUPTED, 130)
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow.", "sqlalchemy.")):
            traceback.print_exc()
            sys.exit(_UNFORESEEN)
        what = reason(error)
        _fail(f"MLflow failed ({what}): check MLFLOW_TRACKING_URI, and whether its store works", 2)

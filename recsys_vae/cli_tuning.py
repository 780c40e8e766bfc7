"""The verbs `tune` and `reproduce`."""

import sys
from typing import Any

import click

from recsys_vae.options import FITTING, Verb, path_option

SHOWN = {"show_default": True, "max_content_width": 100}


@click.command(cls=Verb, context_settings=SHOWN)
@path_option("--split", required=True, help="folder that 'split' wrote")
@click.option(
    "--recipe", default="pipelines/recipes/mult-vae.toml", help="TOML file with a table [search]"
)
@click.option(
    "--set", "overrides", multiple=True, help="settings, such as 'latent=64; training.epochs=5'"
)
@click.option(
    "--trials", type=click.IntRange(1), default=20,
    help="of the study, those of earlier calls included",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), default=1,
    help="processes at the same time, which share the cores",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True),
    help="seconds after which no trial begins; default: no end",
)  # fmt: skip
@FITTING
@click.option("--metric", default="ndcg@100", help="of the validation users")
@click.option(
    "--storage",
    help="file or URL of the study's database; default: beside MLflow's SQLite file, with a server "
    "in --out",
)
@click.option("--study", help="name of the study; default: by recipe, data and options")
@click.option(
    "--register", default="recsys-vae", help="name in MLflow's registry; 'none': not registered"
)
@path_option("--out", required=True, help="folder for the model, its recipe and the trials")
def tune(**values: Any) -> None:
    """Search a recipe's settings, train with the best ones and register the model.

    Every trial is a nested MLflow run. Trials below the median of the others are stopped early.

    An interrupted search goes on where it was when the same command is given again.

    Example: recsys-vae tune --split outputs/split --recipe pipelines/recipes/als.toml --out tuned
    """
    from recsys_vae.steps import console_tuning
    from recsys_vae.steps.recipes import read_recipe
    from recsys_vae.steps.tune import TuneOptions
    from recsys_vae.steps.tune import tune as step

    overrides = values.pop("overrides")
    recipe = read_recipe(values.pop("recipe"), overrides)
    if values["register"] == "none":
        values["register"] = None
    done = step(TuneOptions(recipe=recipe, **values), lambda line: click.echo(line, err=True))
    click.echo(console_tuning.tuned(done))
    place = "" if values["register"] is None else ", which is now @challenger"
    click.echo(f"written: {values['out']}, in MLflow: {done.trained.uri}{place}")


@click.command(cls=Verb, context_settings=SHOWN)
@click.argument("run", required=False)
@click.option("--run", "named", help="likewise")
@path_option("--split", help="folder of the split, if it is no longer where it was")
@click.option(
    "--threads", type=click.IntRange(1), help="an operation on the CPU; default: as many as then"
)
@click.option("--device", help="auto, cpu or cuda; default: the kind that it was")
def reproduce(**values: Any) -> None:
    """Rebuild a run from what it logged, and say whether the numbers are identical.

    RUN is the id of a run of 'train', 'evaluate' or 'main'. Exit code 0: identical; 1: they
    differ, and a table says in what; 2: it cannot be rebuilt.

    Example: recsys-vae reproduce --run 0123456789abcdef0123456789abcdef
    """
    from recsys_vae.errors import InputError
    from recsys_vae.steps import console_tuning
    from recsys_vae.steps.reproduce import ReproduceOptions
    from recsys_vae.steps.reproduce import reproduce as step

    run = values["run"] or values["named"]
    if values["run"] and values["named"] and values["run"] != values["named"]:
        raise InputError(
            f"reproduce rebuilds one run, and two are named, {values['run']} and "
            f"{values['named']}: leave one out"
        )
    if run is None:
        raise InputError("reproduce needs a run: name an MLflow run of train, evaluate or main")
    names = ("split", "threads", "device")
    options = ReproduceOptions(run=run, **{name: values[name] for name in names})
    done = step(options, lambda line: click.echo(line, err=True))
    click.echo(console_tuning.reproduced(done))
    if not done.identical:
        sys.exit(1)

"""The verbs that judge: `evaluate`, `compare` and `leaderboard`."""

from typing import Any

import click

from recsys_vae.options import FITTING, SEED, Verb, comma_separated, path_option

SHOWN = {"show_default": True, "max_content_width": 100}


@click.command(cls=Verb, context_settings=SHOWN)
@path_option("--split", required=True, help="folder that 'split' wrote")
@click.option(
    "--model", "models", callback=comma_separated, required=True,
    help="folders or MLflow URIs, comma-separated",
)  # fmt: skip
@click.option(
    "--part", type=click.Choice(["test", "validation"]), default="test", help="which users"
)
@click.option(
    "--metrics", callback=comma_separated, default="recall@20,recall@50,ndcg@100",
    help="comma-separated; all: every measure at 10, 20, 50 and 100",
)  # fmt: skip
@click.option(
    "--by", callback=comma_separated,
    help="judge parts, too: activity, popularity, or FILE:COLUMN of users or items",
)  # fmt: skip
@path_option("--out", required=True, help="folder to write")
def evaluate(**values: Any) -> None:
    """Judge models on what is held out of the same users.

    With 95 % bootstrap intervals.

    What is given of a user is never recommended; in a split by items that is what trained, too.
    What the metrics mean stands in docs/metrics.md.

    Example: recsys-vae evaluate --split outputs/split --model outputs/mult-vae --out outputs/eval
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.evaluate import evaluate_models

    names = ("split", "models", "out", "part", "metrics", "by")
    judged = evaluate_models(**{name: values[name] for name in names})
    click.echo(console.leaderboard(judged))
    click.echo(console.checks(judged))
    parts = " (parts: segments.csv)" if values["by"] else ""
    click.echo(f"written: {values['out']}{parts}")


@click.command(cls=Verb, context_settings=SHOWN)
@click.argument("runs", nargs=-1)
@click.option("--runs", "more", callback=comma_separated, help="likewise, comma-separated")
@click.option("--by", help="metric to sort by; default: NDCG, as it was evaluated")
@click.option("--seed", type=SEED, default=0, help="of resampling and tests")
@path_option("--out", help="folder to write; default: the screen and MLflow only")
def compare(**values: Any) -> None:
    """Say who is ahead among evaluated models, and how surely.

    Intervals and paired tests.

    RUNS are folders that 'evaluate' wrote, or MLflow runs of 'evaluate' or 'main'. Fits of one
    model with several seeds count as one model.

    Example: recsys-vae compare --runs outputs/eval-vae,outputs/eval-als --by ndcg@100
    """
    from recsys_vae.errors import InputError
    from recsys_vae.steps import console
    from recsys_vae.steps.compare import compare_runs

    runs = (*values["runs"], *values["more"])
    if not runs:
        raise InputError("compare needs evaluations: name folders or MLflow runs of 'evaluate'")
    done = compare_runs(runs=runs, by=values["by"], out=values["out"], seed=values["seed"])
    click.echo(console.comparison(done))
    if values["out"] is not None:
        click.echo(f"written: {values['out']}")


@click.command(cls=Verb, context_settings=SHOWN)
@path_option("--split", required=True, help="folder that 'split' or 'ready' wrote")
@click.option(
    "--recipes", callback=comma_separated, required=True,
    help="folder of recipes, or model names and TOML files, comma-separated",
)  # fmt: skip
@click.option("--metrics", callback=comma_separated, default="all", help="comma-separated")
@click.option("--choose-by", default="ndcg@100", help="validation metric that settings follow")
@click.option("--sort-by", help="test metric to sort by; default: as --choose-by")
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="candidates of every model: those of its recipe, then drawn from its [search]; default: "
    "the recipe's alone",
)
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES",
    help="of every model for its candidates after the first; default: no end",
)  # fmt: skip
@click.option(
    "--refit", type=click.Choice(["auto", "yes", "no"]), default="auto",
    help="with the chosen settings learn from the validation part, too; auto: where judged users "
    "train (weak generalization)",
)  # fmt: skip
@FITTING
@path_option("--table", help="Markdown file to write the table to")
@path_option("--out", required=True, help="folder of the results; what lies there is not redone")
def leaderboard(**values: Any) -> None:
    """Choose settings of many models, fit and judge them.

    Settings are chosen on validation; it can be stopped and goes on at any time. With --trials or
    --budget every model has the same chance.

    A recipe may hold [[candidates]], settings to choose among, and seeds = [0, 1, 2].

    Example: recsys-vae leaderboard --split outputs/split --recipes als,ease --out outputs/lb
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.leaderboard import LeaderboardOptions
    from recsys_vae.steps.leaderboard import leaderboard as step

    names = (
        "split", "recipes", "metrics", "choose_by", "sort_by", "refit", "seed", "device", "table",
        "out",
    )  # fmt: skip
    budget = None if values["budget"] is None else 60 * values["budget"]
    options = LeaderboardOptions(
        **{name: values[name] for name in names}, trials=values["trials"] or 0, budget=budget
    )
    done = step(options, lambda line: click.echo(line, err=True))
    click.echo(console.comparison(done))
    table = f", table: {values['table']}" if values["table"] else ""
    click.echo(f"written: {values['out']} (all metrics: evaluation/metrics.csv){table}")


@click.command(name="kl-curve", cls=Verb, context_settings=SHOWN)
@path_option("--split", required=True, help="folder that 'split' wrote")
@click.option("--recipe", default="beta-vae", help="a recipe of a beta-vae")
@click.option(
    "--betas", callback=comma_separated, default="0.1,0.2,0.5,1,2", help="KL weights to fit with"
)
@FITTING
@path_option("--out", required=True, help="folder for kl-curve.csv and kl-curve.png")
def kl_curve(**values: Any) -> None:
    """Draw the KL term against the reconstruction.

    A fit of a beta-VAE for each KL weight: what the weight buys.

    Example: recsys-vae kl-curve --split outputs/split --betas 0.1,0.5,1 --out outputs/kl
    """
    from recsys_vae.errors import InputError
    from recsys_vae.steps.kl_curve import kl_curve as step

    try:
        betas = [float(one) for one in values.pop("betas")]
    except ValueError as error:
        raise InputError("--betas must be numbers: give some like 0.1,0.5,1,2") from error
    step(betas=betas, say=click.echo, **values)
    click.echo(f"written: {values['out']}")

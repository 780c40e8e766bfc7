"""The verbs of the registry: `promote`, who is champion, and `tidy`, what is not needed."""

import sys
from typing import Any

import click

from recsys_vae.options import FLAG, SEED, Verb, path_option


@click.command(cls=Verb, context_settings={"show_default": True, "max_content_width": 100})
@path_option("--split", help="folder that 'split' wrote; its users judge both models")
@click.option("--name", default="recsys-vae", help="of the model in MLflow's registry")
@click.option(
    "--part", type=click.Choice(["test", "validation"]), default="test", help="which users"
)
@click.option("--metric", default="ndcg@100", help="of accuracy, which decides")
@click.option("--alpha", type=float, default=0.05, help="p below which being ahead counts")
@click.option(
    "--margin", type=float, default=0.0,
    help="promote one, too, that is surely no further behind, in units of the metric",
)  # fmt: skip
@click.option(
    "--min-coverage", type=float, default=0.8, help="least catalogue coverage, of the champion's"
)
@click.option(
    "--max-latency",
    type=float,
    default=2.0,
    help="most time a user, in multiples of the champion's",
)
@click.option("--latency-floor", type=float, default=1.0, help="ms a user that are always allowed")
@click.option(
    "--max-size", type=float, default=2.0, help="largest size, in multiples of the champion's"
)
@click.option("--size-floor", type=float, default=100.0, help="MB that are always allowed")
@click.option("--seed", type=SEED, default=0, help="of the test and the intervals")
@click.option("--dry-run", **FLAG, help="decide, but change nothing")
@click.option("--force", **FLAG, help="promote without comparing with the champion")
@click.option("--rollback", **FLAG, help="go back to the previous champion instead")
def promote(**values: Any) -> None:
    """Make the challenger champion, if it is surely better.

    On the same held-out users, by a paired test, within guard rails.

    Exit code 0: promoted, or champion already; 1: refused, with the reason; 2: wrong input.

    Example: recsys-vae promote --split outputs/split
    """
    from recsys_vae.errors import InputError
    from recsys_vae.evaluation.promotion import Rails
    from recsys_vae.steps import console
    from recsys_vae.steps.promote import PromoteOptions, undo
    from recsys_vae.steps.promote import promote as step

    if values["rollback"]:
        judging = {"--dry-run": "dry_run", "--force": "force", "--split": "split"}
        for option, name in judging.items():
            if values[name]:
                raise InputError(
                    f"--rollback and {option} exclude each other: leave one of them out"
                )
        click.echo(undo(values["name"]).sentence)
        return
    if values["split"] is None:
        raise InputError("promote needs users to judge by: give a folder of 'split' as --split")
    names = ("split", "name", "part", "metric", "force", "dry_run", "seed")
    rails = Rails(
        alpha=values["alpha"],
        margin=values["margin"],
        coverage=values["min_coverage"],
        latency=values["max_latency"],
        latency_floor=values["latency_floor"],
        size=values["max_size"],
        size_floor=values["size_floor"],
    )
    done = step(PromoteOptions(rails=rails, **{name: values[name] for name in names}))
    if done.comparison is not None:
        click.echo(f"{console.comparison(done.comparison)}\n")
    click.echo(done.sentence)
    if done.outcome == "refused":
        sys.exit(1)


@click.command(cls=Verb)
@click.option(
    "--older-than", type=click.FloatRange(min=0), required=True, metavar="DAYS",
    help="since the model was logged",
)  # fmt: skip
@click.option("--dry-run", **FLAG, help="count, but change nothing")
def tidy(older_than: float, dry_run: bool) -> None:
    """Mark old models in MLflow as deleted.

    Models that an alias needs (champion, challenger, previous or another) stay, and so do
    runs with their metrics. `mlflow gc` then frees the space.

    Example: recsys-vae tidy --older-than 30
    """
    from recsys_vae.tracking.tidying import tidy as step

    done = step(older_than, dry_run=dry_run)
    what = "would be marked as deleted" if dry_run else "marked as deleted"
    size = f", {done.bytes / 1e6:,.0f} MB" if done.bytes else ""
    click.echo(
        f"{what}: {done.models:,} models{size}, and {done.versions:,} versions of the registry; "
        f"kept: {done.kept:,} models that are younger, or that an alias needs"
    )
    if done.models and not dry_run:
        # Other stores may have a password in their address, or a machine of their own.
        uri = done.store if done.store.startswith("sqlite:") else "STORE"
        click.echo(
            f"to free the space: MLFLOW_TRACKING_URI={uri} mlflow gc --backend-store-uri {uri}"
        )

"""The verbs `train` and `refit`: how models are fitted."""

from typing import Any

import click

from recsys_vae.options import FITTING, FRESH, SEED, Verb, path_option


@click.command(cls=Verb)
@path_option("--split", required=True, help="folder that 'split' wrote")
@click.option("--recipe", default="linear-vae", help="model name or TOML file")
@click.option(
    "--set", "overrides", multiple=True, help="settings, such as 'latent=64; training.epochs=5'"
)
@FITTING
@FRESH
@click.option("--register", help="name in MLflow's registry; default: not registered")
@path_option("--out", required=True, help="folder to write the model to")
def train(**values: Any) -> None:
    """Fit a model.

    The weights with the best validation NDCG@100 are kept.

    An interrupted training goes on where it was when the same command is given again. Several
    processes train as one under torchrun: torchrun --nproc-per-node 2 -m recsys_vae train ...

    Example: recsys-vae train --split outputs/split --out outputs/linear-vae
    """
    from recsys_vae.steps.recipes import read_recipe
    from recsys_vae.steps.train import VALIDATION_METRIC
    from recsys_vae.steps.train import train as step
    from recsys_vae.training.distributed import exit_if_joined

    done = step(
        split=values["split"],
        recipe=read_recipe(values["recipe"], values["overrides"]),
        out=values["out"],
        seed=values["seed"],
        device=values["device"],
        register=values["register"],
        fresh=values["fresh"],
    )
    if done is not None:
        click.echo(
            f"{done.model.name}: validation {VALIDATION_METRIC} {done.validation:.4f} "
            f"after {done.seconds:.1f} s\nwritten: {done.folder}, in MLflow: {done.uri}"
        )
    exit_if_joined()


@click.command(cls=Verb)
@click.option(
    "--model", required=True, help="folder, or MLflow URI such as models:/recsys-vae@champion"
)
@path_option("--data", required=True, help="folder that 'ingest' wrote")
@click.option("--seed", type=SEED, help="default: the model's own")
@click.option("--device", default="auto", help="auto, cpu or cuda")
@FRESH
@path_option("--out", required=True, help="folder to write the model to")
def refit(**values: Any) -> None:
    """Fit a model's settings again, to all users.

    Those who were held out to judge it learn with the others, and what only they took becomes
    known. Nothing is chosen again: epochs, ridges and the like are those that validation chose for
    the model. Nobody is left to judge the result: that is what the model itself was for.

    An interrupted fit goes on where it was when the same command is given again.

    Example: recsys-vae refit --model outputs/model --data outputs/data --out outputs/everybody
    """
    from recsys_vae.steps.refit import RefitOptions
    from recsys_vae.steps.refit import refit as step
    from recsys_vae.training.distributed import exit_if_joined

    done = step(RefitOptions(**values))
    if done is not None:
        click.echo(
            f"{done.model.name}: fitted to all {done.users:,} users in {done.seconds:.1f} s\n"
            f"written: {done.folder}, in MLflow: {done.uri}"
        )
    exit_if_joined()

"""The verbs about models in MLflow's registry: `promote`."""

import sys
from typing import Any

import click

from recsys_vae.options import FLAG, SEED, Verb, path_option

SHOWN = {"show_default": True, "max_content_width": 100}
_SHARE = click.FloatRange(0)


@click.command(cls=Verb, context_settings=SHOWN)
@click.option("--name", default="recsys-vae", help="of the registered model")
@path_option("--split", help="folder that 'split' wrote; its test users judge")
@click.option("--metric", default="ndcg@100", help="of quality")
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.05, help="largest p to be ahead at")
@click.option("--accept-equal", **FLAG, help="promote also who is not behind at that p")
@click.option(
    "--min-coverage", type=_SHARE, default=0.8, help="least share of the champion's coverage@20"
)
@click.option(
    "--max-latency", type=_SHARE, default=1.5,
    help="largest multiple of the champion's time; 0: no limit",
)  # fmt: skip
@click.option(
    "--max-size", type=_SHARE, default=2.0,
    help="largest multiple of the champion's size; 0: no limit",
)  # fmt: skip
@click.option("--dry-run", **FLAG, help="compare only")
@click.option("--rollback", **FLAG, help="let the previous champion serve again")
@click.option("--seed", type=SEED, default=0, help="of the test")
def promote(**values: Any) -> None:
    """Let the challenger serve if it is ahead of the champion.

    Both are judged on the same held-out users by a paired test, and the challenger must keep within
    guard rails. Exit code 0: it serves now; 1: it was refused, and the reason is told and in the
    MLflow run; 2: nothing could be compared.

    Example: recsys-vae promote --name recsys-vae --split outputs/split
    """
    from recsys_vae.errors import InputError
    from recsys_vae.steps.promote import PromoteOptions, go_back
    from recsys_vae.steps.promote import promote as step

    if values.pop("rollback"):
        click.echo(go_back(values["name"]))
        return
    if values["split"] is None:
        raise InputError("--split is missing: name the folder whose test users are to judge")
    verdict = step(PromoteOptions(**values))
    click.echo(verdict.table().to_string(index=False, float_format="{:.4f}".format))
    click.echo(f"{verdict.reason}\nMLflow run {verdict.run_id}")
    if verdict.refused:
        sys.exit(1)

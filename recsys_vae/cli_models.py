"""The verb `models`: which models there are."""

import click

from recsys_vae.options import Verb


@click.command(cls=Verb)
def models() -> None:
    """List the models that a recipe can name, each with what it is.

    Example: recsys-vae models
    """
    from recsys_vae.models.zoo import models_table

    table = models_table()
    width = max(map(len, table))
    for name, line in table.items():
        click.echo(f"{name:{width}}  {line}")

"""The verb `report`: what a run brought, as one page."""

from typing import Any

import click

from recsys_vae.options import Verb, path_option


@click.command(cls=Verb, context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--run", required=True, help="folder that 'main' or 'evaluate' wrote, or MLflow run of either"
)
@path_option("--out", required=True, help="HTML file to write")
def report(**values: Any) -> None:
    """Write a report: one HTML file that needs nothing else.

    Data, models with intervals and tests, pictures, examples of lists.

    Example: recsys-vae report --run outputs/sample --out outputs/report.html
    """
    from recsys_vae.steps.report import write_report

    write_report(run=values["run"], out=values["out"])
    click.echo(f"written: {values['out']}")

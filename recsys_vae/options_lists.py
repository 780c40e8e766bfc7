"""Options of the verbs that make lists: rules and the like, and the engine."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from recsys_vae.errors import InputError
from recsys_vae.options import comma_separated, options, path_option, spelled

if TYPE_CHECKING:  # at run time these imports would slow every --help
    from recsys_vae.scoring.spark.session import SparkOptions
    from recsys_vae.steps.lists import ListOptions

RULES = options(
    click.option("--allow", callback=comma_separated, help="only these items, comma-separated"),
    click.option("--block", callback=comma_separated, help="not these items, comma-separated"),
    click.option(
        "--mask-seen", type=bool, default=True, help="leave out what the user has already taken"
    ),
    click.option(
        "--mask-rated", type=bool, default=True,
        help="with seen items, leave out those rated at or below the threshold, too",
    ),
    path_option(
        "--rules",
        help="TOML file of rules, instead of --allow, --block and --mask-seen (docs/rules.md)",
    ),
    click.option("--at", help="time at which the rules ask what is available; default: now"),
    click.option(
        "--rerank", help="choose from ten times as many: mmr:0.7, dpp:1, calibrate:0.5"
    ),
    click.option(
        "--explore", type=click.IntRange(0, 2**63 - 1),
        help="seed of a draw from what the model believes",
    ),
    click.option(
        "--explain", type=click.IntRange(0, 100), default=0,
        help="name so many items of the history as reasons for each place",
    ),
    click.option(
        "--approximate", help="look at a part of a very large catalogue: ivf, ivf:64 (cells)"
    ),
    click.option(
        "--approximate-recall", type=click.FloatRange(0, 1),
        help="stop if less of the exact lists is found; default: only say how much",
    ),
)  # fmt: skip


def list_options(values: dict[str, Any]) -> "ListOptions":
    """Gather the values of `RULES` and `TITLES`.

    Raises:
        InputError: --at is no time, or there are no rules that ask for it.
    """
    from recsys_vae.steps.lists import ListOptions

    at = None
    if values["at"] is not None:
        try:
            at = datetime.fromisoformat(values["at"])
        except ValueError as error:
            raise InputError(
                f"--at {values['at']} is no time: write it like 2026-12-24 or 2026-12-24T18:00"
            ) from error
        if values["rules"] is None:
            raise InputError("--at is the time that rules ask for: give --rules, or leave it out")
    names = (
        "allow", "block", "mask_seen", "mask_rated", "rules", "rerank", "explore", "explain",
        "approximate", "approximate_recall", "items",
    )  # fmt: skip
    return ListOptions(at=at, **{name: values[name] for name in names})


SPARK = options(
    click.option(
        "--engine", type=click.Choice(["local", "spark"]), default="local",
        help="this process, or the workers of a Spark cluster (docs/spark.md)",
    ),
    click.option(
        "--spark-master",
        help="such as local[2], spark://host:7077, yarn; default: what spark-submit says, or all "
        "cores of this machine",
    ),
    click.option("--spark-conf", multiple=True, help="a setting of Spark's, key=value; repeatable"),
)  # fmt: skip


def spark_options(values: dict[str, Any]) -> "SparkOptions":
    """Gather the values of `SPARK`."""
    from recsys_vae.scoring.spark.session import SparkOptions, parse_conf

    return SparkOptions(
        master=values["spark_master"],
        conf=parse_conf(values["spark_conf"]),
        users_per_block=values["users_per_block"],
    )


_LOCAL_ONLY = (
    "since", "skip_damaged", "max_rejected", "unsorted", "rules", "at", "rerank", "explore",
    "explain", "items",
    "approximate", "approximate_recall",
)  # fmt: skip


def _is_given(name: str) -> bool:
    """Say whether the command line has an option, and another value than it has without.

    `mlflow run` passes every option that has a value of its own.
    """
    context = click.get_current_context()
    (usual,) = (one.get_default(context) for one in context.command.params if one.name == name)
    source = context.get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT) and context.params[name] != usual


def refuse_other_engine(values: dict[str, Any]) -> None:
    """Refuse an option that the chosen engine of `SPARK` does not have.

    Raises:
        InputError: one is given.
    """
    if values["engine"] == "spark":
        for name in _LOCAL_ONLY:
            if _is_given(name):
                raise InputError(
                    f"{spelled(name)} does not belong to --engine spark: leave it out, or use "
                    "--engine local"
                )
        return
    for name in ("spark_master", "spark_conf"):
        if _is_given(name):
            raise InputError(
                f"{spelled(name)} does not belong to --engine local: leave it out, or choose "
                "--engine spark"
            )
    for name in ("histories", "out"):
        if "://" in values[name]:
            raise InputError(
                f"{spelled(name)} {values[name]} lies on no disk of this machine: choose --engine "
                "spark, or give a path"
            )

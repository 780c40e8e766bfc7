"""The verbs that make lists: for some users to look at, and for all users."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys_vae.options import (
    COLUMNS,
    TITLES,
    Verb,
    comma_separated,
    path_option,
    read_options,
)
from recsys_vae.options_lists import (
    RULES,
    SPARK,
    list_options,
    refuse_other_engine,
    spark_options,
)

if TYPE_CHECKING:  # at run time these imports would slow every --help
    from recsys_vae.ingest.readers import PassedOver
    from recsys_vae.ingest.reading import ReadOptions
    from recsys_vae.ranking.approximation import Recall
    from recsys_vae.scoring.batch import ScoreCounts

_MAX_REJECTED = click.option(
    "--max-rejected", type=float, default=0.0,
    help="pass over up to this share of rows that are no interactions; 0: refuse the first",
)  # fmt: skip


@click.command(cls=Verb)
@click.option("--model", required=True, help="folder or MLflow URI (models:/recsys-vae@challenger)")
@path_option("--histories", required=True, help="file of interactions, or stored interactions")
@click.option("--users", callback=comma_separated, help="user ids, comma-separated")
@click.option("--first", type=click.IntRange(1), default=3, help="how many, where none are named")
@click.option("--k", type=int, default=10, help="list length")
@RULES
@TITLES
@COLUMNS
@_MAX_REJECTED
@path_option("--out", help="file to write: .csv, .parquet or .jsonl; default: the screen only")
def recommend(**values: Any) -> None:
    """Make lists for named users.

    Example: recsys-vae recommend --model outputs/mult-vae --histories ratings.csv --users 1,7
    """
    from recsys_vae.steps import console
    from recsys_vae.steps.recommend import RecommendOptions
    from recsys_vae.steps.recommend import recommend as step

    names = ("model", "histories", "users", "first", "k", "out")
    chosen = {name: values[name] for name in names}
    done = step(RecommendOptions(lists=list_options(values), reading=_reading(values), **chosen))
    click.echo(console.lists(done))
    _echo_passed_over(done.passed_over)
    _echo_rules({}, done.relaxed)
    _echo_recall(done.recall)
    if done.unknown:
        click.echo(f"\nleft out of the histories: {done.unknown} items the model does not know")
    if values["out"] is not None:
        click.echo(f"\nwritten: {values['out']}")


@click.command(cls=Verb)
@click.option("--model", required=True, help="folder or MLflow URI (models:/recsys-vae@challenger)")
@click.option("--histories", required=True, help="file of interactions, or stored interactions")
@click.option("--k", type=int, default=100, help="list length")
@RULES
@TITLES
@COLUMNS
@_MAX_REJECTED
@click.option(
    "--unsorted", type=bool, is_flag=False, flag_value="true", default=False,
    help="rows are not grouped by user: sort them in memory",
)  # fmt: skip
@click.option(
    "--form", type=click.Choice(["long", "list"]), default="long",
    help="a row a user and rank (user, rank, item, score), or a row a user (user, items, scores)",
)  # fmt: skip
@click.option(
    "--users-per-block", type=click.IntRange(1), default=2_048,
    help="scored at once; changes no list",
)  # fmt: skip
@click.option("--users-per-part", type=click.IntRange(1), default=100_000, help="users of a file")
@click.option(
    "--skip-damaged", type=bool, is_flag=False, flag_value="true", default=False,
    help="leave files of a folder out that cannot be read, and tell of them",
)  # fmt: skip
@path_option("--since", help="earlier result: score only users whose history has changed since")
@SPARK
@click.option("--out", required=True, help="folder to write; appears when complete")
def score(**values: Any) -> None:
    """Make lists for every user, into Parquet files.

    Killed, the same command goes on after the last complete file. On Spark, it begins anew.

    Example: recsys-vae score --model outputs/mult-vae --histories all.parquet --out outputs/lists
    """
    refuse_other_engine(values)
    counts = _on_spark(values) if values["engine"] == "spark" else _here(values)
    if counts.users and not counts.rows:
        click.echo("note: every list is empty: relax the rules, the discount or the minimum score")
    click.echo(
        f"{counts.users:,} users ({counts.without_history:,} without known history, "
        f"{counts.short_lists:,} with short lists), {counts.rows:,} rows; left out of the "
        f"histories: {counts.unknown_items:,} rows with unknown items, "
        f"{counts.below_threshold:,} others not above the threshold\nwritten: {values['out']}"
    )


def _on_spark(values: dict[str, Any]) -> "ScoreCounts":
    from recsys_vae.steps.score_spark import SparkScoreOptions, score_on_spark

    names = (
        "model", "k", "form", "allow", "block", "mask_seen", "mask_rated", "histories", "out"
    )  # fmt: skip
    chosen = {name: values[name] for name in names}
    spark = spark_options(values)
    return score_on_spark(SparkScoreOptions(reading=read_options(values), spark=spark, **chosen))


def _here(values: dict[str, Any]) -> "ScoreCounts":
    from recsys_vae.steps.score import ScoreOptions, score

    names = (
        "model", "k", "form", "unsorted", "users_per_block", "users_per_part", "since",
        "skip_damaged",
    )  # fmt: skip
    chosen = {name: values[name] for name in names}
    chosen |= {name: Path(values[name]) for name in ("histories", "out")}
    done = score(
        ScoreOptions(lists=list_options(values), reading=_reading(values), **chosen),
        lambda line: click.echo(line, err=True),
    )
    for why in done.damaged:
        click.echo(f"note: left out: {why}")
    _echo_passed_over(done.passed_over)
    _echo_rules(done.unknown, done.counts.relaxed)
    _echo_recall(done.counts.recall)
    if done.unchanged is not None:
        click.echo(f"{done.unchanged:,} users left out, whose history is what it was")
    if done.gone:
        click.echo(f"{done.gone:,} users of the earlier result have no history now: no list here")
    return done.counts


def _reading(values: dict[str, Any]) -> "ReadOptions":
    return replace(read_options(values), max_rejected=values["max_rejected"])


def _echo_passed_over(found: "PassedOver | None") -> None:
    """Say which rows were no interactions."""
    if found is not None and found.first:
        count = sum(found.reasons.values())
        click.echo(f"note: {count:,} of {found.rows:,} rows passed over, the first: {found.first}")


def _echo_rules(unknown: Mapping[str, int], relaxed: Mapping[str, int]) -> None:
    """Say what the rules name that is not there, and for whom they could not be kept."""
    for rule, count in unknown.items():
        if not count:
            continue
        click.echo(f"note: {count:,} of the ids or labels of rule {rule} are unknown to the model")
    for rule, count in relaxed.items():
        if count:
            click.echo(f"note: rule {rule} could not be kept for {count:,} user(s)")


def _echo_recall(recall: "Recall | None") -> None:
    """Say how much of the exact lists approximate ones hold."""
    if recall is not None and recall.mean is not None:
        click.echo(
            f"approximate lists hold {recall.mean:.1%} of what the exact ones do, compared for "
            f"{recall.users:,} users"
        )

"""Everybody's list, made by Spark's workers and written by them as Parquet."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from recsys_vae.errors import InputError
from recsys_vae.scoring.batch import ScoreCounts
from recsys_vae.scoring.tables import NO_HISTORY, SHORT, Form

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def write_lists(
    histories: "DataFrame",
    answer: Callable[["Column"], "Column"],
    folder: str,
    *,
    k: int,
    form: Form,
) -> ScoreCounts:
    """Make and write the lists in one go; what is counted is counted on the way.

    Args:
        histories: from `SparkHistories.by_user`.
        answer: from `spark_answers`.
        folder: to fill with files of Parquet; nothing else must write there.
        k: list length.
        form: "long" (user, rank, item, score) or "list" (user, items, scores, note).

    Returns:
        The counts.

    Raises:
        InputError: there is no user, or no item of any history is known.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as f

    counted = Observation("score")
    answered = histories.select("*", answer(f.struct("history")).alias("answer"))
    length, known = f.size("answer.items"), f.col("answer.known")
    unknown = f.size("history") - known + f.col("misspelt")
    watched = answered.observe(
        counted,
        f.count(f.lit(1)).alias("users"),
        f.sum((known == 0).cast("bigint")).alias("without_history"),
        f.sum((length < k).cast("bigint")).alias("short_lists"),
        f.sum(length.cast("bigint")).alias("rows"),
        f.sum(unknown.cast("bigint")).alias("unknown_items"),
        f.sum("below").alias("below_threshold"),
    )
    lists = _long(watched) if form == "long" else _list(watched, k)
    lists.write.parquet(folder)
    counts = ScoreCounts()
    for name, value in counted.get.items():
        setattr(counts, name, int(value or 0))
    if not counts.users:
        raise InputError("there is no user to score: give a history file with rows")
    if counts.unknown_items and counts.without_history == counts.users:
        raise InputError(
            f"the model knows none of the {counts.unknown_items} items in the {counts.users} "
            "histories: give histories of the data that it was trained on"
        )
    return counts


def _long(answered: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    pairs = f.arrays_zip("answer.items", "answer.scores")
    return answered.select("user", f.posexplode(pairs).alias("place", "one")).select(
        "user",
        (f.col("place") + 1).alias("rank"),
        f.col("one.items").alias("item"),
        f.col("one.scores").alias("score"),
    )


def _list(answered: "DataFrame", k: int) -> "DataFrame":
    from pyspark.sql import functions as f

    short = f.when(f.size("answer.items") < k, SHORT)
    note = f.when(f.col("answer.known") == 0, NO_HISTORY).otherwise(short)
    return answered.select("user", "answer.items", "answer.scores", note.alias("note"))

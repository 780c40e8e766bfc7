"""Everybody's list, made by Spark's workers and written by them as Parquet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

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
    asked = [name for name in ("history", "rated") if name in histories.columns]
    answered = histories.select("*", answer(f.struct(*asked)).alias("answer"))
    places = _Places.of(answered)
    length, known = places.length, places.known
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
    lists = places.long(watched) if form == "long" else places.list(watched, k)
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


@dataclass(frozen=True, slots=True)
class _Places:
    """Where in the column `answer` things stand.

    Attributes:
        known: items of the history that the model knows.
        length: of the list.
        items: array of `length` ids.
        scores: array of `length`, float.
        item: the id at `place`, counted from 0.
        score: its score.
    """

    known: "Column"
    length: "Column"
    items: "Column"
    scores: "Column"
    item: "Column"
    score: "Column"

    @classmethod
    def of(cls, answered: "DataFrame") -> Self:
        from pyspark.sql import functions as f
        from pyspark.sql.types import ArrayType

        answer, place = f.col("answer"), f.col("place")
        if not isinstance(answered.schema["answer"].dataType, ArrayType):
            items, scores = answer["items"], answer["scores"]
            return cls(answer["known"], f.size(items), items, scores, items[place], scores[place])
        # known, length, k items, k scores
        known, length = answer[0].cast("int"), answer[1].cast("int")
        k = ((f.size(answer) - 2) / 2).cast("int")
        return cls(
            known,
            length,
            f.slice(answer, 3, length).cast("array<bigint>"),
            f.slice(answer, 3 + k, length).cast("array<float>"),
            answer[2 + place].cast("bigint"),
            answer[2 + k + place].cast("float"),
        )

    def long(self, answered: "DataFrame") -> "DataFrame":
        """Give a row a place. Only the places are spread: a pair would be an object each."""
        from pyspark.sql import functions as f

        places = f.when(self.length > 0, f.sequence(f.lit(0), self.length - 1))
        spread = answered.select("user", f.explode(places).alias("place"), "answer")
        rank = f.col("place") + 1
        item, score = self.item.alias("item"), self.score.alias("score")
        return spread.select("user", rank.alias("rank"), item, score)

    def list(self, answered: "DataFrame", k: int) -> "DataFrame":
        """Give a row a user."""
        from pyspark.sql import functions as f

        short = f.when(self.length < k, SHORT)
        note = f.when(self.known == 0, NO_HISTORY).otherwise(short)
        items, scores = self.items.alias("items"), self.scores.alias("scores")
        return answered.select("user", items, scores, note.alias("note"))

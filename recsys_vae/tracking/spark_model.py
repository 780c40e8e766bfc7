"""A model as a function of Spark's columns, by way of MLflow's `spark_udf`."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow

from recsys_vae.models.base import Recommender
from recsys_vae.tracking.answer import can_be_numbers
from recsys_vae.tracking.registry import pack_model


@contextmanager
def spark_answers(
    session: Any, model: Recommender, folder: Path, params: dict[str, Any]
) -> Iterator[Any]:
    """Give a function from a column of histories to one of answers.

    The model is packed as a pyfunc with this package beside it, and Spark carries it to its
    workers; each loads it once.

    Args:
        session: of Spark.
        model: loaded from `folder`.
        folder: where `save_model` wrote it.
        params: of the served model, such as `k`.

    Yields:
        From a column of structs with an array `history` of item ids to one of structs `items`,
        `scores` (float32) and `known`, how many items of the history the model knows; where float64
        holds the ids, to one of arrays of it, as `numbers_of` makes them. Usable within the block.
    """
    numbers = can_be_numbers(model.items)
    kind = "bigint" if model.items.kind == "integer" else "string"
    lists = f"struct<items:array<{kind}>,scores:array<float>,known:int>"
    with TemporaryDirectory(prefix="recsys-vae-") as scratch:
        packed = Path(scratch) / "model"
        with _few_words():
            pack_model(model, folder, packed)
            answer = mlflow.pyfunc.spark_udf(
                session,
                str(packed),
                env_manager="local",
                result_type="array<double>" if numbers else lists,
                params={**params, "as_numbers" if numbers else "count_known": True},
            )
        yield answer


@contextmanager
def _few_words() -> Iterator[None]:
    """Keep back advice that is not for us.

    MLflow's, to build an environment for each worker and to give an example; pyspark's, that some
    of its functions, none of which is used here, may not know newer versions of pandas.
    """
    logger = logging.getLogger("mlflow.pyfunc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
            yield
    finally:
        logger.setLevel(before)

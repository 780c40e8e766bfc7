"""The model that MLflow loads and serves: histories in, lists out.

This file is logged as it is ("models from code"), beside a folder of safetensors and JSON.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from recsys_vae.errors import InputError
from recsys_vae.ranking import Ranker
from recsys_vae.tracking.given import Given
from recsys_vae.tracking.kept import ListParams, kept_model

_BLOCK = 1_024


class ServedRecommender(PythonModel):  # type: ignore[misc] # MLflow is not checked
    """Answers a frame of histories with lists, for users that it has never seen."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model; it needs no training data."""
        self._kept = kept_model(Path(context.artifacts["model"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Rank items for each history.

        Args:
            context: MLflow's.
            model_input: column `history`, a list of item ids a row, strings or integers; unknown
                ids are ignored, and an empty list or None is answered too.
            params: `k`, the list length; `mask_seen`, whether items of the history are left out;
                `allow`, the only items that may be recommended, and `block`, those that may not,
                as text; `count_known`, whether to answer with the column `known`, too.

        Returns:
            Columns `items` and `scores`, a list a row; shorter than k where too few items remain.
            `known` is how many items of the history the model knows.

        Raises:
            MlflowException: a parameter or a history cannot be used (INVALID_PARAMETER_VALUE, which
                a server answers with 400).
        """
        params = params or {}
        try:
            ranker = self._kept.ranker(ListParams.of(params, len(self._kept.model.items)))
            histories = model_input["history"].tolist()
            answers = [
                _answered(ranker, histories[start : start + _BLOCK], start)
                for start in range(0, len(histories), _BLOCK)
            ]
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        columns = ["items", "scores"] + ["known"] * bool(params.get("count_known", False))
        if not answers:
            return pd.DataFrame(columns=columns)
        return pd.concat(answers, ignore_index=True)[columns]


def _answered(ranker: Ranker, block: list[Any], first: int) -> pd.DataFrame:
    items = ranker.model.items
    asked = Given.of(block, items, first)
    lists = ranker.lists(asked.matrix(len(items)))
    kept = lists.items_BK >= 0
    ends = np.cumsum(lists.lengths)[:-1]
    return pd.DataFrame(
        {
            "items": _lists(items.ids(lists.items_BK[kept]), ends),
            "scores": _lists(lists.scores_BK[kept].astype(float), ends),
            "known": asked.known_U,
        }
    )


def _lists(values: Any, ends: Any) -> list[list[Any]]:
    return [one.tolist() for one in np.split(values, ends)]


mlflow.models.set_model(ServedRecommender())

"""The model that MLflow loads and serves: histories in, lists out.

This file is logged as it is ("models from code"), beside a folder of safetensors and JSON.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from recsys_vae.errors import InputError
from recsys_vae.tracking.answer import Answer, numbers_of
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
                ids are ignored, and an empty list or None is answered too. A column `rated`, if
                there is one, holds further ids that are no history, but not recommended either.
            params: `k`, the list length; `mask_seen`, whether items of the history are left out;
                `allow`, the only items that may be recommended, and `block`, those that may not,
                as text; `count_known`, whether to answer with the column `known`, too;
                `as_numbers`, whether to answer with numbers alone, for whoever pays for each list.

        Returns:
            Columns `items` and `scores`, a list a row; shorter than k where too few items remain.
            `known` is how many items of the history the model knows. As numbers: float64 columns
            `known`, the list's length, then k items and k scores, 0 behind the list's end.

        Raises:
            MlflowException: a parameter or a history cannot be used (INVALID_PARAMETER_VALUE, which
                a server answers with 400).
        """
        params = params or {}
        items = self._kept.model.items
        asked = ListParams.of(params, len(items))
        try:
            ranker = self._kept.ranker(asked)
            histories = model_input["history"].tolist()
            rated = model_input["rated"].tolist() if "rated" in model_input else None
            answers = []
            for start in range(0, len(histories), _BLOCK):
                block = slice(start, start + _BLOCK)
                further = None if rated is None else rated[block]
                answers.append(Answer.of(ranker, histories[block], start, further))
            if params.get("as_numbers", False):
                return pd.DataFrame(numbers_of(answers, items, asked.k))
        except InputError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        columns = ["items", "scores"] + ["known"] * bool(params.get("count_known", False))
        if not answers:
            return pd.DataFrame(columns=columns)
        frames = [one.lists(items) for one in answers]
        return pd.concat(frames, ignore_index=True)[columns]


mlflow.models.set_model(ServedRecommender())

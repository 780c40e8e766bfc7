"""The model that MLflow loads and serves: histories in, lists out.

This file is logged as it is ("models from code"), beside a folder of safetensors and JSON.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel, PythonModelContext

from recsys_vae.interactions.interactions import csr_from_pairs
from recsys_vae.models.base import Recommender
from recsys_vae.models.zoo import load_model
from recsys_vae.ranking import ItemRules, Making, Ranker

_BLOCK = 1_024
_RANKERS = 4


class ServedRecommender(PythonModel):  # type: ignore[misc] # MLflow is not checked
    """Answers a frame of histories with lists, for users that it has never seen."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model; it needs no training data."""
        self.model: Recommender = load_model(Path(context.artifacts["model"]))
        self._rankers: dict[tuple[int, bool], Ranker] = {}

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Rank items for each history.

        Args:
            context: MLflow's.
            model_input: column `history`, a list of item ids a row; unknown ids are ignored, and
                an empty list is answered too.
            params: `k`, the list length, and `mask_seen`, whether items of the history are left
                out.

        Returns:
            Columns `items` and `scores`, a list a row; shorter than k where too few items remain.
        """
        params = params or {}
        items = self.model.items
        k = min(int(params.get("k", 10)), len(items))
        ranker = self._ranker(k, mask_seen=bool(params.get("mask_seen", True)))
        histories = [_as_list(one) for one in model_input["history"]]
        answers: list[dict[str, Any]] = []
        for start in range(0, len(histories), _BLOCK):
            block = histories[start : start + _BLOCK]
            flat = [item for history in block for item in history]
            numbers = items.numbers(flat, missing="mark")
            rows = np.repeat(np.arange(len(block)), [len(history) for history in block])
            known = numbers >= 0
            ones = np.ones(int(known.sum()), dtype=np.float32)
            given = csr_from_pairs(rows[known], numbers[known], ones, (len(block), len(items)))
            lists = ranker.lists(given)
            for row, length in enumerate(lists.lengths):
                answers.append(
                    {
                        "items": items.ids(lists.items_BK[row, :length]).tolist(),
                        "scores": lists.scores_BK[row, :length].astype(float).tolist(),
                    }
                )
        return pd.DataFrame(answers, columns=["items", "scores"])

    def _ranker(self, k: int, *, mask_seen: bool) -> Ranker:
        """Give the ranker for these parameters, which prepares the items once."""
        asked = (k, mask_seen)
        if asked not in self._rankers:
            # A server is asked for few lengths; whoever asks for many must not fill the memory.
            if len(self._rankers) > _RANKERS:
                self._rankers.clear()
            self._rankers[asked] = Ranker(
                self.model, k, Making(rules=ItemRules(mask_seen=mask_seen))
            )
        return self._rankers[asked]


def _as_list(history: Sequence[Any] | None) -> list[Any]:
    return [] if history is None else np.asarray(history).tolist()


mlflow.models.set_model(ServedRecommender())

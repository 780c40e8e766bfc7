"""All measures by name, and how they are asked for: `ndcg@100`."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from recsys_vae.errors import InputError
from recsys_vae.evaluation import beyond, metrics
from recsys_vae.evaluation.metrics import Lengths, PerUser

ACCURACY: Final[
    dict[str, Callable[[npt.NDArray[np.bool_], npt.NDArray[np.int64], Lengths], PerUser]]
] = {
    "recall": metrics.recall,
    "recall_all": metrics.recall_all,
    "precision": metrics.precision,
    "ndcg": metrics.ndcg,
    "map": metrics.average_precision,
    "mrr": metrics.mrr,
    "hit_rate": metrics.hit_rate,
}
BEYOND: Final[dict[str, Callable[[beyond.Shown, Lengths], PerUser]]] = {
    "novelty": beyond.novelty,
    "popularity": beyond.popularity,
    "miscalibration": beyond.miscalibration,
    "diversity": beyond.diversity,
    "serendipity": beyond.serendipity,
}
OVERALL: Final = ("coverage", "gini")
"""Measures of all lists together: there is no value of one user."""
NAMES: Final = (*ACCURACY, *BEYOND, *OVERALL)
DEFAULT_METRICS: Final = ("recall@20", "recall@50", "ndcg@100")
ALL_LENGTHS: Final = (10, 20, 50, 100)
_SMALLER_IS_BETTER: Final = ("popularity", "miscalibration", "gini")


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    """A measure of lists of length k; written `recall@20`."""

    name: str
    k: int

    def __str__(self) -> str:
        """Write it as it is asked for."""
        return f"{self.name}@{self.k}"

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is what one hopes for."""
        return self.name not in _SMALLER_IS_BETTER


def parse_metric(text: str) -> Metric:
    """Read "recall@20".

    Raises:
        InputError: the measure is unknown or k is no number >= 1.

    >>> parse_metric("ndcg@100")
    Metric(name='ndcg', k=100)
    """
    name, _, k = text.partition("@")
    if name not in NAMES or not re.fullmatch("[1-9][0-9]{0,8}", k):
        raise InputError(
            f"there is no metric '{text}': write one of {', '.join(NAMES)} with a list length, "
            "for example ndcg@100, or all"
        )
    return Metric(name, int(k))


def parse_metrics(texts: Iterable[str]) -> list[Metric]:
    """Read several; "all" stands for every measure at 10, 20, 50 and 100.

    Raises:
        InputError: one of them is unknown, or there is none.
    """
    asked: list[Metric] = []
    for text in texts:
        if text == "all":
            asked += [Metric(name, k) for name in NAMES for k in ALL_LENGTHS]
        else:
            asked.append(parse_metric(text))
    if not asked:
        raise InputError("--metrics names no metric: give some, such as ndcg@100, or all")
    return list(dict.fromkeys(asked))


def lengths_by_name(asked: Sequence[Metric]) -> dict[str, list[int]]:
    """Gather the list lengths of each measure."""
    lengths: dict[str, list[int]] = {}
    for metric in asked:
        lengths.setdefault(metric.name, []).append(metric.k)
    return lengths


def metric_label(name: str) -> str:
    """Write a metric as papers do.

    >>> metric_label("ndcg@100"), metric_label("recall@20")
    ('NDCG@100', 'Recall@20')
    """
    metric, at, k = name.partition("@")
    if metric in ("ndcg", "map", "mrr"):
        return metric.upper() + at + k
    return metric.capitalize().replace("_", " ") + at + k

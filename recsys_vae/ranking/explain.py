"""Explanations: which items of the history carried each recommendation.

Legend: B users, I items, K places of a list, M items of an explanation, N stored interactions,
T histories that lack one item.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.models.autoencoder import NeuralRecommender
from recsys_vae.models.base import FloatMatrix, Recommender
from recsys_vae.ranking.reduced import Trials, blocks_of, trials_of, without
from recsys_vae.ranking.topn import PAD, TopN

ScoreItems = Callable[[csr_array, npt.NDArray[np.integer[Any]]], FloatMatrix]
"""Histories (B, I) and items_BK to scores_BK."""

_TOLERANCE: Final = (1e-4, 1e-5)
"""How far scores may differ from the listed ones, as a share of the largest of the list and beyond
that: some hundred roundings of float32 sums, of terms up to 1 where the scores are small."""
_SCORES_AT_ONCE: Final = 2**26
_CONTRIBUTIONS_AT_ONCE: Final = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """For each place of each list, the items of the history that carried it most.

    Attributes:
        items_BKM: int32 item numbers, the largest contribution first; `PAD` (-1) at padded places
            of the list and where the history has fewer than M items.
        contributions_BKM: float32, how much lower the score is without the item, on the scale of
            the scores; below 0 for an item that spoke against it, 0 where there is none.
        carried_BK: float32, the sum of all contributions above 0, of the M items and all others.
        left_out_B: int64, items of the history that were not tried, because it is too long.
    """

    items_BKM: npt.NDArray[np.int32]
    contributions_BKM: FloatMatrix
    carried_BK: FloatMatrix
    left_out_B: npt.NDArray[np.int64]

    @property
    def shares_BKM(self) -> FloatMatrix:  # noqa: N802 # shape suffix
        """Contributions above 0 as shares of their sum over the whole history; otherwise 0."""
        # Where nothing is above 0 the divisor does not matter.
        above_BK = np.maximum(self.carried_BK, np.float32(2.0**-126))
        shares_BKM: FloatMatrix = np.maximum(self.contributions_BKM, np.float32(0))
        shares_BKM /= above_BK[:, :, None]
        return shares_BKM


def explain(
    model: Recommender,
    given: csr_array,
    lists: TopN,
    *,
    top: int = 3,
    most_history: int = 200,
    at_once: int = 1024,
) -> Explained:
    r"""Leave out each item of a history in turn, and see how much lower each listed item scores.

    contribution(u, i, h) = score_i(x_u) - score_i(x_u without h), by the model itself: nothing is
    approximated. Contributions need not add up to the score, because items act together. Of equal
    ones the lower item number is shown.

    Source: the deletion of one input at a time of J. Li, W. Monroe, D. Jurafsky, Understanding
    Neural Networks through Representation Erasure, 2016, arXiv 1612.08220.

    Args:
        model: fitted. An autoencoder decodes the listed items only, others score all items.
        given: (B, I) histories.
        lists: of these users by this model, with its scores (re-ranked ones keep them).
        top: M, items of each explanation at most.
        most_history: items of a history that are tried at most: those of the largest weight, of
            equal ones those with the lowest numbers. How many are left out is reported; the score
            itself is always that of the whole history.
        at_once: histories that lack an item that are scored together, which bounds the memory; it
            changes results by rounding only.

    Raises:
        InputError: an option is out of range, or a listed score is not what the model gives.
        ValueError: histories and lists are not one for each user.
    """
    for option, value in (("top", top), ("most_history", most_history), ("at_once", at_once)):
        if value < 1:
            raise InputError(f"{option} = {value} is out of range: choose 1 or more")
    if given.shape[0] != len(lists.items_BK):
        raise ValueError(f"{given.shape[0]} histories do not fit {len(lists.items_BK)} lists")
    score_items, at_once = _scorer(model, given.shape[1], at_once)
    trials = trials_of(given, most_history)
    items_BK = np.maximum(lists.items_BK, 0)
    longest = max(int(trials.counts_B.max(initial=0)), 1)
    size = max(_CONTRIBUTIONS_AT_ONCE // (items_BK.shape[1] * longest), 1)
    parts = []
    for start in range(0, max(len(items_BK), 1), size):
        rows = slice(start, start + size)
        part = trials.of_users(rows)
        full_BK = _checked(score_items, given[rows], lists, rows, at_once)
        reduced_TK = np.empty((len(part.users_T), items_BK.shape[1]), dtype=np.float32)
        for block in blocks_of(part, given[rows], at_once):
            users_T = part.users_T[block]
            reduced = without(given[rows], users_T, part.places_T[block])
            reduced_TK[block] = score_items(reduced, items_BK[rows][users_T])
        parts.append(_largest(part, given[rows], lists.items_BK[rows], full_BK, reduced_TK, top))
    items, contributions, carried = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return Explained(items, contributions, carried, trials.left_out_B)


def _scorer(model: Recommender, n_items: int, at_once: int) -> tuple[ScoreItems, int]:
    """Say how some items are scored, and for how many histories at once."""
    if isinstance(model, NeuralRecommender):
        return model.score_items, at_once

    def gathered(given: csr_array, items_BK: npt.NDArray[np.integer[Any]]) -> FloatMatrix:
        return np.take_along_axis(model.score(given), items_BK.astype(np.intp), axis=1)

    return gathered, max(min(at_once, _SCORES_AT_ONCE // n_items), 1)


def _checked(
    score_items: ScoreItems, given: csr_array, lists: TopN, rows: slice, at_once: int
) -> FloatMatrix:
    """Score the listed items of some users again: full_BK, which must be as listed."""
    items_BK, listed_BK = lists.items_BK[rows], lists.scores_BK[rows]
    full_BK = np.zeros(items_BK.shape, dtype=np.float32)
    for start in range(0, len(items_BK), at_once):
        block = slice(start, start + at_once)
        full_BK[block] = score_items(given[block], np.maximum(items_BK[block], 0))
    filled_BK = items_BK != PAD
    away_BK = np.abs(np.where(filled_BK, full_BK - np.where(filled_BK, listed_BK, 0), 0))
    largest_B1 = np.abs(np.where(filled_BK, full_BK, 0)).max(axis=1, keepdims=True)
    within_B1 = _TOLERANCE[0] * largest_B1 + _TOLERANCE[1]
    wrong = np.flatnonzero((~(away_BK <= within_B1)).any(axis=1))
    if len(wrong):
        row = int(wrong[0])
        place = int(away_BK[row].argmax())
        raise InputError(
            f"the list of user {row + rows.start} of the block has the score "
            f"{listed_BK[row, place]:.6g} where the model gives {full_BK[row, place]:.6g}: explain "
            "lists by the model and the histories that made them, without exploration"
        )
    return full_BK


def _largest(
    trials: Trials,
    given: csr_array,
    items_BK: npt.NDArray[np.int32],
    full_BK: FloatMatrix,
    reduced_TK: FloatMatrix,
    top: int,
) -> tuple[npt.NDArray[np.int32], FloatMatrix, FloatMatrix]:
    """Give items_BKM, contributions_BKM and carried_BK of some users."""
    n_users, n_places = items_BK.shape
    tried = max(int(trials.counts_B.max(initial=0)), 1)
    contributions = np.full((n_users, tried, n_places), -np.inf, dtype=np.float32)
    contributions[trials.users_T, trials.order_T] = full_BK[trials.users_T] - reduced_TK
    contributions[np.broadcast_to((items_BK == PAD)[:, None], contributions.shape)] = -np.inf
    carried_BK = np.maximum(contributions, 0).sum(axis=1)
    history = np.full((n_users, tried), PAD, dtype=np.int32)
    taken = given.indices[given.indptr[trials.users_T] + trials.places_T]
    history[trials.users_T, trials.order_T] = taken
    best = np.argsort(-contributions, axis=1, kind="stable")[:, :top].transpose(0, 2, 1)
    shown_BKM = np.take_along_axis(contributions.transpose(0, 2, 1), best, axis=2)
    named_BKM = history[np.arange(n_users)[:, None, None], best]
    padding = ((0, 0), (0, 0), (0, top - best.shape[2]))
    named_BKM = np.pad(
        np.where(np.isneginf(shown_BKM), PAD, named_BKM), padding, constant_values=PAD
    )
    shown_BKM = np.pad(np.where(np.isneginf(shown_BKM), 0, shown_BKM), padding)
    return named_BKM, shown_BKM, carried_BK

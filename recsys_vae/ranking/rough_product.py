"""Scores by a rough product, and how far from the exact ones they may be.

Legend: B users in the block, I items, H hidden width.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from recsys_vae.ranking.topn import check_finite

ITEMS_AT_ONCE: Final = 1 << 15
"""Columns of the rough product that are held for a block where the user of it does not say."""
ROUNDING_F32: Final = 2.0**-23
"""Relative error of a number in float32: twice what rounding to the nearest can do."""
_SAMPLE: Final = 256
"""Items by which a user's largest score is guessed: those of the largest bias."""


@dataclass(frozen=True, slots=True)
class ExactItems:
    """Some items as the model has them.

    Attributes:
        weight_IH: float32.
        bias_I: float32.
    """

    weight_IH: Tensor
    bias_I: Tensor


@dataclass(frozen=True, slots=True)
class Multiplied:
    """What users are multiplied by.

    Attributes:
        weight_IH: float32, of all items.
        bias_I: float32, of all items.
        numbers_I: of the items that are multiplied, ascending; None: all.
        at_once: items that are multiplied at a time; None: as many as are usually held.
        factor: what weights and bias are multiplied with first.
    """

    weight_IH: Tensor
    bias_I: Tensor
    numbers_I: Tensor | None = None
    at_once: int | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a kind of product makes of a block of users.

    Attributes:
        error_B: bound of the error of their products in numbers of few bits, float64.
        moved_B: what is added to each user's scores, float64.
        products: of what was prepared of the items, in that order.
    """

    error_B: Tensor
    moved_B: Tensor
    products: Iterator[Tensor]


@dataclass(frozen=True, slots=True)
class RoughUsers:
    """A block of users and their rough scores.

    Attributes:
        base_B: bound of the error of rough scores but for their own rounding, float32.
        moved_B: what was added to each user's scores, float64: a rough score is s_ui + moved_u,
            but for its error.
        chunks: the numbers (I,) of some items at a time, and their rough scores (B, I), made when
            they are asked for; their memory may be used again for the next.
    """

    base_B: Tensor
    moved_B: Tensor
    chunks: Iterator[tuple[Tensor, Tensor]]


class RoughProduct(ABC):
    """Products s_ui = h_u . w_i + b_i in numbers of few bits, with a bound of their error.

    The rounding of a rough score itself grows with its size; so scores are moved by a number that
    brings a user's largest near 0, which changes the order of nobody's items.

    Args:
        items: what users are multiplied by.
    """

    def __init__(self, items: Multiplied) -> None:
        """Prepare the items once."""
        weight_IH, bias_I, numbers_I = items.weight_IH, items.bias_I, items.numbers_I
        check_finite(weight_IH)
        check_finite(bias_I[None])
        if numbers_I is None:
            numbers_I = torch.arange(len(bias_I), device=bias_I.device)
        self._n_hidden = weight_IH.shape[1]
        self._longest = self._largest_bias = 0.0

        def exact(part_I: Tensor) -> Iterator[ExactItems]:
            # Some at a time: nothing but the rough weights is kept, and exact ones are large.
            for own_I in part_I.split(ITEMS_AT_ONCE):
                yield ExactItems(weight_IH[own_I] * items.factor, bias_I[own_I] * items.factor)

        foremost_S = torch.topk(bias_I[numbers_I], min(_SAMPLE, len(numbers_I))).indices
        self._prepare_sample(exact(numbers_I[foremost_S]), len(foremost_S))
        self._numbers = numbers_I.split(items.at_once or ITEMS_AT_ONCE)
        for part_I in self._numbers:
            self._prepare(exact(part_I), len(part_I))

    @property
    @abstractmethod
    def rounding(self) -> float:
        """Relative error of a rough score's own format."""

    @abstractmethod
    def _prepare_sample(self, items: Iterator[ExactItems], n_items: int) -> None:
        """Prepare the items by which the largest score is guessed."""

    @abstractmethod
    def _prepare(self, items: Iterator[ExactItems], n_items: int) -> None:
        """Prepare the next items that are multiplied at a time."""

    @abstractmethod
    def _users(self, hidden_BH: Tensor) -> Prepared:
        """Prepare users to be multiplied."""

    def _note(self, exact: ExactItems) -> None:
        """Keep how large the items are."""
        # Lengths are taken in float64, so that nothing but the products' own error is bounded.
        lengths = torch.linalg.vector_norm(exact.weight_IH.double(), dim=1)
        self._longest = max(self._longest, float(lengths.max()))
        self._largest_bias = max(self._largest_bias, float(exact.bias_I.abs().max()))

    def of(self, hidden_BH: Tensor) -> RoughUsers:
        """Give rough scores of a block of users, float32, with what is known of their error."""
        prepared = self._users(hidden_BH)
        length_B = torch.linalg.vector_norm(hidden_BH.double(), dim=1)
        # Sums in float32, of any order, of terms that add up to a score, and less one that is as
        # large at most. Rough numbers may be longer by a hundredth.
        summed = 2.1 * (self._n_hidden + 5) * ROUNDING_F32
        bound_B = prepared.error_B + summed * (length_B * self._longest + self._largest_bias)
        chunks = zip(self._numbers, prepared.products, strict=True)
        return RoughUsers(bound_B.float(), prepared.moved_B, chunks)

    @property
    def growth(self) -> float:
        """By how much the bound of the error grows with the size of a rough score."""
        return 1.01 * self.rounding

    def error(self, base_B: Tensor, near_B: Tensor) -> Tensor:
        """Bound the error of rough scores.

        Args:
            base_B: of `RoughUsers`.
            near_B: the size of the rough scores, (B,); smaller ones err less.
        """
        # A hundredth more than is due, for the rounding of this very sum.
        error_B: Tensor = 1.01 * (base_B + self.rounding * (near_B + base_B))
        return error_B

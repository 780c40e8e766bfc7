"""Which rough product serves a model's items best on this machine.

Legend: I items, H hidden width.
"""

from collections.abc import Callable
from threading import Lock
from typing import Final, TypeVar

from torch import Tensor

from recsys_vae.ranking.float_product import FloatProduct
from recsys_vae.ranking.int8_product import Int8Product, multiplies_int8
from recsys_vae.ranking.rough import TooManyError
from recsys_vae.ranking.rough_product import Multiplied, RoughProduct

T = TypeVar("T")

_WORTH_IT: Final = 64
"""Items multiplied in eight bits that save as much as one more group of candidates costs."""


class RoughChoice:
    """Begins with the fastest product, and turns to a more exact one where that costs less.

    Args:
        items: what users are multiplied by.
        precise: whether to do without bfloat16 and whole numbers of eight bits.
    """

    def __init__(self, items: Multiplied, *, precise: bool = False) -> None:
        """Prepare the items once."""
        self._items, self._precise, self._lock = items, precise, Lock()
        self._coarse: Int8Product | None = None
        self._exact: RoughProduct | None = None
        if not precise and multiplies_int8(items.weight_IH.device, items.weight_IH.shape[1]):
            self._coarse = Int8Product(items)

    def tried(self, hidden_BH: Tensor, k: int, how: Callable[[RoughProduct, int | None], T]) -> T:
        """Do something with the product that suits a block of users.

        Args:
            hidden_BH: float32, of the users.
            k: list length.
            how: given a product, and how many groups of candidates are worth it for all users
                together (None: as many as it takes), may raise `TooManyError`; then it is called
                again with a more exact product, which later blocks get at once.
        """
        coarse = self._coarse
        if coarse is not None and coarse.fits(hidden_BH):
            try:
                return how(coarse, len(hidden_BH) * (k + len(self._items.bias_I) // _WORTH_IT))
            except TooManyError:
                self._coarse = None
        return how(self.exact, None)

    @property
    def exact(self) -> RoughProduct:
        """The most exact product that there is, made when it is first asked for."""
        with self._lock:
            if self._exact is None:
                self._exact = FloatProduct(self._items, precise=self._precise)
            return self._exact

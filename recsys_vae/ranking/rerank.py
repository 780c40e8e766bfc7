"""Re-ranking: lists of k chosen from a longer pool, for more than the score alone."""

import math
from collections.abc import Callable
from typing import Final

from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.ranking.calibrate import Calibration, ItemShares, calibrate
from recsys_vae.ranking.dpp import DPP, dpp
from recsys_vae.ranking.item_vectors import ItemVectors
from recsys_vae.ranking.mmr import MMR, mmr
from recsys_vae.ranking.topn import TopN

Reranking = MMR | DPP | Calibration
"""How a pool becomes a list."""

_MAKE: Final[dict[str, Callable[[float], Reranking]]] = {
    "mmr": MMR,
    "dpp": DPP,
    "calibrate": Calibration,
}
_DEFAULTS: Final[dict[str, Reranking]] = {"mmr": MMR(), "dpp": DPP(), "calibrate": Calibration()}
_EXAMPLES: Final = "mmr:0.7, dpp:1.0 or calibrate:0.5"


def parse_reranking(text: str) -> Reranking:
    """Read how to re-rank from the command line.

    Args:
        text: "METHOD:NUMBER", the method mmr, dpp or calibrate, the number its trade-off, theta
            or strength; "METHOD" alone takes the number of the method's options.

    Raises:
        InputError: there is no such method, or the number is none or out of range.

    >>> parse_reranking("mmr:0.3")
    MMR(trade_off=0.3)
    """
    name, colon, written = text.partition(":")
    if name not in _MAKE:
        raise InputError(f"--rerank {text}: there is no method '{name}': write {_EXAMPLES}")
    if not colon:
        return _DEFAULTS[name]
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InputError(f"--rerank {text}: '{written}' is no number: write {_EXAMPLES}")
    try:
        return _MAKE[name](number)
    except InputError as error:
        raise InputError(f"--rerank {text}: {error}") from error


def rerank(
    pool: TopN,
    k: int,
    how: Reranking,
    *,
    given: csr_array,
    vectors: ItemVectors | None = None,
    shares: ItemShares | None = None,
) -> TopN:
    """Choose lists of k from a pool.

    A list holds items of the user's pool only, none twice, with their scores; it is short where
    the pool is. It does not depend on the other users.

    Args:
        pool: the candidates, best first, P >= k places.
        k: list length.
        how: the method with its number.
        given: (B, I) histories, row by row those of the pool.
        vectors: of the items; mmr and dpp need them.
        shares: of the items; calibrate needs them.

    Raises:
        InputError: k is out of range, or what the method needs is missing.

    >>> import numpy as np
    >>> pool = TopN(np.int32([[4, 2]]), np.float32([[2, 1]]))
    >>> ones = ItemVectors.of(np.eye(5))
    >>> rerank(pool, 1, MMR(), given=csr_array((1, 5)), vectors=ones).items_BK
    array([[4]], dtype=int32)
    """
    if isinstance(how, Calibration):
        if shares is None:
            raise InputError(
                "calibrate compares attributes of the items and there are none: give a file of "
                "attributes, or re-rank by mmr"
            )
        return calibrate(pool, k, shares, given, how)
    if vectors is None:
        raise InputError(
            "mmr and dpp compare items by vectors and there are none: give features of the items, "
            "or a model that has vectors of items"
        )
    if isinstance(how, MMR):
        return mmr(pool, k, vectors, how)
    return dpp(pool, k, vectors, how)

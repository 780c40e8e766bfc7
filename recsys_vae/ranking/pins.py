"""Items that stand at fixed places of the lists, for everybody or for single users.

Legend: B users in the block, N pins of these users.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from recsys_vae.interactions import IdArray
from recsys_vae.interactions.id_map import UNKNOWN
from recsys_vae.ranking.known import KnownItems, texts_of
from recsys_vae.ranking.rule_file import RuleFile
from recsys_vae.ranking.rule_tables import RuleTable
from recsys_vae.ranking.user_items import Numbers, UserItems

_LONGEST: Final = 2**31
"""No list has so many places."""


@dataclass(frozen=True, slots=True, eq=False)
class UserPins:
    """The pins of a block of users, one an entry.

    Attributes:
        rows_N: int64, place of the user in the block.
        items_N: int64 item numbers.
        places_N: int64, place in the list, from 0.
        forced_N: bool, whether it stands there even where a mask would leave it out.
    """

    rows_N: Numbers
    items_N: Numbers
    places_N: Numbers
    forced_N: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Pins:
    """What stands where; no place and no item of a list is named twice.

    Attributes:
        items: (n,) item numbers pinned for everybody.
        places: (n,) their places, from 0.
        forced: (n,) whether masks do not count for them.
        by_user: pins of single users, or None.
        user_places: their places, by `Entries.places_N`.
        user_forced: whether masks do not count for those.
        last: the farthest place of all, from 1.
        most: the most pins that a list can have.
    """

    items: Numbers
    places: Numbers
    forced: npt.NDArray[np.bool_]
    by_user: UserItems | None
    user_places: Numbers
    user_forced: bool
    last: int
    most: int

    def of(self, users: IdArray) -> UserPins:
        """Give the pins of a block of users, (B,) external ids."""
        n_users, n_pins = len(users), len(self.items)
        rows = [np.repeat(np.arange(n_users), n_pins)]
        items, places = [np.tile(self.items, n_users)], [np.tile(self.places, n_users)]
        forced = [np.tile(self.forced, n_users)]
        if self.by_user is not None:
            own = self.by_user.entries(users)
            rows.append(own.rows_N)
            items.append(own.items_N)
            places.append(self.user_places[own.places_N])
            forced.append(np.full(len(own.rows_N), self.user_forced))
        return UserPins(
            np.concatenate(rows),
            np.concatenate(items),
            np.concatenate(places),
            np.concatenate(forced),
        )


def pins_of(file: RuleFile, items: KnownItems) -> Pins | None:
    """Look the pins of a rule file up.

    Returns:
        The pins, or None where there are none.

    Raises:
        InputError: a position is no whole number from 1, a list would have two items at one place
            or an item twice, or the model knows none of the items.
    """
    listed, table = file.content.pin, file.tables.get("pins_file")
    numbers = np.zeros(0, dtype=np.int64)
    if listed:
        numbers = items.numbers("pin", texts_of(one.item for one in listed))
    kept = np.flatnonzero(numbers != UNKNOWN)
    places = np.array([one.position - 1 for one in listed], dtype=np.int64)
    forced = np.array([one.force for one in listed], dtype=bool)
    # A place counts even where the model does not know its item: the rule is the rule.
    last, most = int(places.max(initial=-1)) + 1, len(kept)
    by_user, user_places = None, np.zeros(0, dtype=np.int64)
    if table is not None and table.table.num_rows:
        own, positions = items.numbers("pins_file", table.ids("item")), _positions(table)
        by_user = UserItems.of(table.ids("user"), own)
        users = by_user.users.numbers(table.ids("user"))
        _refuse_twice(table, users, own, positions - 1, numbers[kept], places)
        user_places = positions[by_user.order] - 1
        last = max(last, int(positions.max()))
        most += int(np.diff(by_user.starts).max(initial=0))
    if not last:
        return None
    return Pins(
        numbers[kept], places[kept], forced[kept], by_user, user_places, file.content.pins_force,
        last, most,
    )  # fmt: skip


def _positions(table: RuleTable) -> Numbers:
    numbers = table.numbers("position")
    wrong = ~((numbers >= 1) & (numbers == np.floor(numbers)) & (numbers < _LONGEST))
    table.refuse_rows(wrong, "the position must be a whole number from 1: correct it")
    return numbers.astype(np.int64)


def _refuse_twice(
    table: RuleTable, users: Numbers, items: Numbers, places: Numbers,
    everybodys: Numbers, taken: Numbers,
) -> None:  # fmt: skip
    """Refuse a place with two items, and an item at two places, of one user's list."""
    by_place = pd.DataFrame({"user": users, "place": places}).duplicated().to_numpy()
    table.refuse_rows(by_place, "the user has another pin at this position: delete one of them")
    by_item = pd.DataFrame({"user": users, "item": items}).duplicated().to_numpy()
    table.refuse_rows(by_item & (items >= 0), "the item is pinned for the user before: delete one")
    table.refuse_rows(
        np.isin(places, taken), "a [[pin]] for everybody has this position: choose another"
    )
    table.refuse_rows(
        np.isin(items, everybodys), "the item is pinned for everybody: delete the row"
    )

"""What items are like, from a file: who has which label or number, as rules ask for it.

Legend: I items of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from recsys_vae.errors import InputError
from recsys_vae.ranking.known import KnownItems
from recsys_vae.ranking.rule_file import AtMost, Label, Require, RuleFile
from recsys_vae.ranking.rule_tables import RuleTable, label_of

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Which items have which labels of one attribute.

    Attributes:
        names: the labels, sorted.
        items: (n,) item numbers.
        codes: (n,) into `names`: item and label, each pair once.
    """

    names: tuple[str, ...]
    items: Numbers
    codes: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Attributes:
    """The table of a rule file's [attributes], one row an item.

    Attributes:
        table: the table.
        items: of the model; labels of rules that no item of the table has are counted there, too.
        numbers: (rows,) item number of each row, -1 where the model does not know the item.
    """

    table: RuleTable
    items: KnownItems
    numbers: Numbers

    @classmethod
    def of(cls, file: RuleFile, items: KnownItems) -> Self | None:
        """Look the items of the table up.

        Returns:
            The attributes, or None where the rules have none.

        Raises:
            InputError: the table has no rows or an item twice, or the model knows none of them.
        """
        table = file.tables.get("attributes.file")
        if table is None:
            return None
        ids = table.ids("item")
        if not len(ids):
            raise InputError(f"{table.path} has no rows: give the attributes of the items")
        if len(pc.unique(ids)) < len(ids):
            first = np.unique(np.asarray(ids.dictionary_encode().indices), return_index=True)[1]
            again = np.ones(len(ids), dtype=bool)
            again[first] = False
            table.refuse_rows(
                again, "the item has a row before: write one row an item, several labels by '|'"
            )
        return cls(table, items, items.numbers("attributes.file", ids))

    def labels(self, attribute: str, key: str) -> Labels:
        """Give the labels of an attribute.

        Args:
            attribute: a column of the table.
            key: of the rule that asks, for messages.

        Raises:
            InputError: there is no such column, or it holds no labels.
        """
        self._check(attribute, key)
        codes, labels = self.table.labels(attribute)
        names = tuple(sorted({one for several in labels for one in several}))
        place = {name: code for code, name in enumerate(names)}
        lengths = np.array([len(one) for one in labels], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        flat = np.array([place[one] for several in labels for one in several], dtype=np.int64)
        known = np.flatnonzero(self.numbers >= 0)
        per_row = lengths[codes[known]]
        behind = np.arange(per_row.sum()) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        chosen = flat[np.repeat(starts[codes[known]], per_row) + behind]
        return Labels(names, np.repeat(self.numbers[known], per_row), chosen)

    def having(self, attribute: str, values: Sequence[Label], key: str) -> Flags:
        """Say which items, (I,), have at least one of some labels.

        Raises:
            InputError: no item of the table has any of them, or there is no such attribute.
        """
        labels = self.labels(attribute, key)
        wanted = [label_of(value) for value in values]
        codes = [code for code, name in enumerate(labels.names) if name in wanted]
        strange = [label for label in wanted if label not in labels.names]
        if not codes:
            raise InputError(
                f"rules {self.items.path}, {key}: no item of {self.table.path} has the {attribute} "
                f"'{wanted[0]}': correct the value"
            )
        self.items.unknown[key] = len(strange)
        flags = np.zeros(len(self.items.items), dtype=bool)
        flags[labels.items[np.isin(labels.codes, codes)]] = True
        return flags

    def fulfilling(self, rule: Require, key: str) -> Flags:
        """Say which items, (I,), are as a rule requires.

        Items without a value are, where the rule says what they must not have, and are not, where
        it says what they must have.

        Raises:
            InputError: there is no such attribute or label, or it is no number where the rule
                compares numbers.
        """
        if rule.among is not None:
            return self.having(rule.attribute, rule.among, key)
        if rule.not_in is not None:
            return ~self.having(rule.attribute, rule.not_in, key)
        self._check(rule.attribute, key)
        known = self.numbers >= 0
        values = np.full(len(self.items.items), np.nan)
        values[self.numbers[known]] = self.table.numbers(rule.attribute)[known]
        # NaN is neither above nor below anything.
        low = values >= (-np.inf if rule.min is None else rule.min)
        return low & (values <= (np.inf if rule.max is None else rule.max))

    def groups(self, rule: AtMost, key: str) -> list[Numbers]:
        """Give the items, (n,) numbers each, that share a label which a rule caps.

        Raises:
            InputError: there is no such attribute or label.
        """
        if rule.value is not None:
            return [np.flatnonzero(self.having(rule.attribute, [rule.value], key))]
        labels = self.labels(rule.attribute, key)
        order = np.argsort(labels.codes, kind="stable")
        ends = np.cumsum(np.bincount(labels.codes, minlength=len(labels.names)))
        return list(np.split(labels.items[order], ends[:-1]))

    def _check(self, attribute: str, key: str) -> None:
        names = [name for name in self.table.table.column_names if name != "item"]
        if attribute not in names:
            raise InputError(
                f"rules {self.items.path}, {key}: {self.table.path} has no attribute "
                f"'{attribute}', it has {', '.join(names) or 'none'}: correct the name"
            )

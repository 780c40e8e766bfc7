"""Rules of a rule file, looked up for a model and applied to its scores (docs/rules.md).

Legend: B users in the block, I items, K list length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.interactions import IdArray, IdMap
from recsys_vae.ranking.candidates import Candidates, candidates_of
from recsys_vae.ranking.item_attributes import Attributes
from recsys_vae.ranking.item_masks import permitted_items
from recsys_vae.ranking.known import KnownItems
from recsys_vae.ranking.list_rules import Cap, ListRules, Quota
from recsys_vae.ranking.pins import Pins, pins_of
from recsys_vae.ranking.rule_file import RuleFile
from recsys_vae.ranking.rule_tables import label_of
from recsys_vae.ranking.selection import Selected, select
from recsys_vae.ranking.topn import ItemRules, check_finite, check_length
from recsys_vae.ranking.user_items import UserItems

Scores = npt.NDArray[np.float32]
_POOL: Final = 1_000
_POOL_PER_PLACE: Final = 10
_GROWTH: Final = 8
_CELLS: Final = 1 << 24
"""Candidates held at once where more are looked for, at most."""
_MOST_QUOTAS: Final = 63
"""Bits of 64, less the one for pins."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rules:
    r"""Rules in terms of one model's items.

    Attributes:
        path: of the rule file, for messages.
        fingerprint: of the rule file and what it refers to; see `RuleFile`. What else the lists
            depend on is the model, the counts and `at`.
        at: the moment at which availability was judged.
        unknown: by key of the rule file, how many distinct ids of a list the model does not know,
            and how many labels of a rule no item has.
        mask_seen: whether a user's given items are left out.
        permitted_I: bool, what everybody may be given; None: all.
        discount_I: float32, what popular items lose; None: nothing.
        minimum_score: lower scores, after the discount, are left out; None: none are.
        allow: what single users may be given, or None.
        deny: what single users may not be given, or None.
        pins: items at fixed places, or None.
        lists: caps and quotas.

    >>> from tempfile import mkdtemp
    >>> from recsys_vae.ranking import read_rules
    >>> path = Path(mkdtemp()) / "rules.toml"
    >>> _ = path.write_text('[items]\ndeny = ["a"]')
    >>> rules = Rules.compile(read_rules(path), IdMap.of(["a", "b", "c"]))
    >>> given = csr_array((1, 3), dtype=np.float32)
    >>> rules.apply(np.float32([[3, 2, 1]]), np.array(["u"]), given, 2).lists.items_BK
    array([[1, 2]], dtype=int32)
    """

    path: Path
    fingerprint: str
    at: datetime
    unknown: Mapping[str, int]
    mask_seen: bool
    permitted_I: npt.NDArray[np.bool_] | None
    discount_I: Scores | None
    minimum_score: float | None
    allow: UserItems | None
    deny: UserItems | None
    pins: Pins | None
    lists: ListRules

    @classmethod
    def compile(
        cls,
        file: RuleFile,
        items: IdMap,
        counts_I: npt.NDArray[Any] | None = None,
        at: datetime | None = None,
    ) -> Self:
        """Look a rule file's items and attributes up.

        Args:
            file: from `read_rules`.
            items: of the model.
            counts_I: how many training users took each item; a popularity discount needs it.
            at: the moment at which items must be available, UTC if it names no zone; None: now. A
                run that goes on with an unfinished one gives the moment of that one.

        Raises:
            InputError: the model knows no item of a list, an attribute or label does not exist,
                rules contradict each other, or nothing is left to recommend.
        """
        moment = datetime.now(UTC) if at is None else at
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        known = KnownItems(file.path, items)
        attributes = Attributes.of(file, known)
        permitted = permitted_items(file, known, attributes, moment)
        if permitted is not None and not permitted.any():
            raise InputError(
                f"rules {file.path} leave no item to recommend at {moment.isoformat()}: relax one "
                "of them"
            )
        return cls(
            path=file.path,
            fingerprint=file.fingerprint,
            at=moment,
            mask_seen=file.content.mask_seen,
            permitted_I=permitted,
            discount_I=_discount(file, counts_I, len(items)),
            minimum_score=file.content.minimum_score,
            allow=_user_items(file, "users.allow_file", known),
            deny=_user_items(file, "users.deny_file", known),
            pins=pins_of(file, known),
            lists=_list_rules(file, attributes, len(items)),
            unknown=known.unknown,
        )

    @property
    def adjustment_I(self) -> Scores | None:  # noqa: N802 # shape suffix
        """What is added to every user's scores: 0, minus the discount, or -inf; None: nothing."""
        if self.permitted_I is None:
            return self.discount_I if self.discount_I is None else -self.discount_I
        discount = np.float32(0) if self.discount_I is None else self.discount_I
        return np.where(self.permitted_I, -discount, np.float32(-np.inf)).astype(np.float32)

    @property
    def item_rules(self) -> ItemRules:
        """The part that holds for every user alike, as `rank` takes it."""
        return ItemRules(self.permitted_I, self.mask_seen)

    @property
    def alike(self) -> bool:
        """Whether that part is all there is: lists are then the beginnings of the scores' order."""
        of_users = (self.allow, self.deny, self.pins, self.discount_I, self.minimum_score)
        return all(one is None for one in of_users) and not self.lists.binding

    def named(self, users: IdArray) -> npt.NDArray[np.bool_]:
        """Say which of the users, (B,), are named by a list or pin of single users.

        Where no user of a whole run is, the ids of these files are not those of the run.
        """
        named = np.zeros(len(users), dtype=bool)
        for one in (self.allow, self.deny, self.pins.by_user if self.pins else None):
            if one is not None:
                named |= one.named(users)
        return named

    def mask(self, scores_BI: Scores, users: IdArray, given: csr_array) -> None:
        """Discount scores, and set those of items that must not be given to -inf, in place.

        The scores of a pinned item stay where only the minimum score speaks against it, and those
        of a forced pin stay in any case: it stands at its place and nowhere else.

        Args:
            scores_BI: finite.
            users: (B,) external ids.
            given: (B, I) histories.

        Raises:
            ValueError: the arguments do not fit each other.
        """
        n_users = len(scores_BI)
        if len(users) != n_users or given.shape != scores_BI.shape:
            raise ValueError("scores, users and histories must have one row a user")
        if self.discount_I is not None:
            scores_BI -= self.discount_I
        pins = None if self.pins is None else self.pins.of(users)
        if pins is not None:
            before = scores_BI[pins.rows_N, pins.items_N]
        if self.minimum_score is not None:
            scores_BI[scores_BI < self.minimum_score] = -np.inf
        if pins is not None:
            scores_BI[pins.rows_N, pins.items_N] = before
        if self.permitted_I is not None:
            scores_BI[:, ~self.permitted_I] = -np.inf
        if self.mask_seen:
            rows = np.repeat(np.arange(n_users), np.diff(given.indptr))
            scores_BI[rows, given.indices] = -np.inf
        if self.allow is not None:
            own = self.allow.entries(users)
            kept = scores_BI[own.rows_N, own.items_N]
            scores_BI[self.allow.named(users)] = -np.inf
            scores_BI[own.rows_N, own.items_N] = kept
        if self.deny is not None:
            own = self.deny.entries(users)
            scores_BI[own.rows_N, own.items_N] = -np.inf
        if pins is not None:
            forced = pins.forced_N
            scores_BI[pins.rows_N[forced], pins.items_N[forced]] = before[forced]

    def pool(self, k: int) -> int:
        """Say how many of the best items a selection of lists of k should start from.

        k where nothing concerns the list as a whole, as many more as there are pins, and with caps
        or quotas ten times k, at least 1,000; never more than there are items.

        Raises:
            InputError: lists of k cannot be made, or cannot keep to the rules.
        """
        n_items = len(self.lists.member_IQ) - 1
        check_length(k, n_items)
        if self.pins is not None and self.pins.last > k:
            raise InputError(
                f"rules {self.path}: a pin has position {self.pins.last}, lists have {k} places: "
                "choose a longer list or another position"
            )
        for name, count in zip(self.lists.names, self.lists.counts_Q.tolist(), strict=True):
            if count > k:
                raise InputError(
                    f"rules {self.path}, {name}: the count {count} is more than the {k} places of "
                    "a list: choose a longer list or a smaller count"
                )
        if self.lists.binding:
            return min(max(_POOL_PER_PLACE * k, _POOL), n_items)
        return min(k + (0 if self.pins is None else self.pins.most), n_items)

    def candidates(
        self, scores_BI: Scores, users: IdArray, k: int, size: int | None = None
    ) -> Candidates:
        """Find what lists of k are selected from.

        Args:
            scores_BI: after `mask`.
            users: (B,) external ids.
            k: list length.
            size: so many of the best items; None: `pool(k)`.

        Raises:
            InputError: see `pool`.
        """
        size = self.pool(k) if size is None else size
        pins = None if self.pins is None else self.pins.of(users)
        return candidates_of(scores_BI, size, self.lists, pins)

    def select(self, candidates: Candidates, k: int) -> Selected:
        """Select lists of k; where they are `exhausted_B`, more candidates may make better ones.

        Lists that are not exhausted are those that all items as candidates would give.
        """
        return select(candidates, self.lists, k)

    def apply(self, scores_BI: Scores, users: IdArray, given: csr_array, k: int) -> Selected:
        """Make lists of k: mask, select, and select again from more where that can be better.

        Args:
            scores_BI: as the model gave them; overwritten.
            users: (B,) external ids.
            given: (B, I) histories.
            k: list length, 1..I.

        Returns:
            The lists, those that all items as candidates give; `exhausted_B` is false.

        Raises:
            InputError: see `pool`.
            NotFiniteError: a score is NaN or infinite.
        """
        size, n_items = self.pool(k), scores_BI.shape[1]
        check_finite(scores_BI)
        self.mask(scores_BI, users, given)
        made = self.select(self.candidates(scores_BI, users, k, size), k)
        while made.exhausted_B.any():
            size = min(_GROWTH * size, n_items)
            wanting = np.flatnonzero(made.exhausted_B)
            at_once = max(1, _CELLS // size)
            for start in range(0, len(wanting), at_once):
                again = wanting[start : start + at_once]
                more = self.candidates(scores_BI[again], users[again], k, size)
                made = made.replaced(again, self.select(more, k))
        return made


def _discount(file: RuleFile, counts_I: npt.NDArray[Any] | None, n_items: int) -> Scores | None:
    popularity = file.content.popularity
    if popularity is None or popularity.discount == 0:
        return None
    if counts_I is None:
        raise InputError(
            f"rules {file.path}, popularity: how many users took each item is not known here: "
            "leave the discount out"
        )
    if counts_I.shape != (n_items,) or (counts_I < 0).any():
        raise ValueError("counts must be one number from 0 an item")
    discount: Scores = (popularity.discount * np.log1p(counts_I.astype(np.float64))).astype(
        np.float32
    )
    return discount


def _user_items(file: RuleFile, key: str, known: KnownItems) -> UserItems | None:
    table = file.tables.get(key)
    if table is None or not table.table.num_rows:
        return None
    return UserItems.of(table.ids("user"), known.numbers(key, table.ids("item")))


def _list_rules(file: RuleFile, attributes: Attributes | None, n_items: int) -> ListRules:
    caps, quotas, content = list[Cap](), list[Quota](), file.content
    if attributes is None:
        return ListRules.of(n_items)
    for number, rule in enumerate(content.at_most, 1):
        groups = attributes.groups(rule, f"at_most, number {number}")
        caps += [Cap(group, rule.count) for group in groups]
    for number, one in enumerate(content.at_least, 1):
        key = f"at_least, number {number}"
        member = attributes.having(one.attribute, [one.value], key)
        label = label_of(one.value)
        for cap in content.at_most:
            same = cap.value is None or label_of(cap.value) == label
            if cap.attribute == one.attribute and same and cap.count < one.count:
                raise InputError(
                    f"rules {file.path}, {key}: an at_most allows no more than {cap.count} "
                    f"with the {one.attribute} '{label}': lower the count or raise that of at_most"
                )
        quotas.append(Quota(f"at_least {one.count} {one.attribute} {label}", member, one.count))
    if len(quotas) > _MOST_QUOTAS:
        raise InputError(
            f"rules {file.path}, at_least: there are {len(quotas)} of these rules, at most "
            f"{_MOST_QUOTAS} can be kept: delete some"
        )
    return ListRules.of(n_items, caps, quotas)

"""Score every user of a history file into Parquet, part by part, in bounded memory."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from recsys_vae import __version__
from recsys_vae.errors import InputError
from recsys_vae.models.base import Recommender
from recsys_vae.ranking import Made, Making, Ranker
from recsys_vae.ranking.approximation import Recall
from recsys_vae.scoring.changes import state_table
from recsys_vae.scoring.histories import HistoryBlock
from recsys_vae.scoring.overlap import Behind, SideBySide, read_ahead
from recsys_vae.scoring.tables import Form, list_table, long_table
from recsys_vae.scoring.workplace import PartWriter, Workplace

_ROWS_OF_A_GROUP: Final = 1 << 17


@dataclass(slots=True)
class ScoreCounts:
    """What went in and out.

    Attributes:
        users: scored users.
        without_history: of them, users none of whose items the model knows.
        short_lists: users whose list is shorter than k.
        rows: list places that are filled.
        unknown_items: rows of the history left out because the model does not know the item.
        below_threshold: rows left out because their rating is not above the threshold.
        compared: users whose approximate lists were compared with the exact ones.
        shares: sum over them of the share of the exact list that was found.
        relaxed: by rule, users for whom it could not be kept.
    """

    users: int = 0
    without_history: int = 0
    short_lists: int = 0
    rows: int = 0
    unknown_items: int = 0
    below_threshold: int = 0
    compared: int = 0
    shares: float = 0.0
    relaxed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, block: HistoryBlock, made: Made) -> "ScoreCounts":
        """Count one block."""
        lists, recall = made.lists, made.recall or Recall(0, 0.0)
        return cls(
            len(block.users),
            int((np.diff(block.given.indptr) == 0).sum()),
            int(lists.short.sum()),
            int(lists.lengths.sum()),
            block.unknown,
            block.below,
            recall.users,
            recall.shares,
            made.relaxed,
        )

    @property
    def recall(self) -> Recall:
        """How much of their exact lists the compared users found."""
        return Recall(self.compared, self.shares)

    def add(self, other: "ScoreCounts") -> None:
        """Add another's counts."""
        for name, value in asdict(other).items():
            if name != "relaxed":
                setattr(self, name, getattr(self, name) + value)
        self.relaxed = dict(Counter(self.relaxed) + Counter(other.relaxed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is to be written, and where.

    Attributes:
        out: a folder of `part-*.parquet` and `_manifest.json`; it appears when complete. Until
            then the parts that are done lie in `OUT.unfinished`, where the same call goes on.
        k: list length.
        form: "long" (user, rank, item, score) or "list" (user, items, scores, note).
        users_per_part: so many users a file.
        identity: what a call must agree in to go on with what another one began, by name.
        manifest: further entries for the manifest.
        progress: whether to show users per second (on terminals only).
        say: is told of every part.
        at_end: may add files to the folder when all parts are there.
    """

    out: Path
    k: int
    form: Form = "long"
    users_per_part: int = 100_000
    identity: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    progress: bool = False
    say: Callable[[str], None] = lambda _line: None
    at_end: Callable[[Path], None] | None = None


def score_users(
    model: Recommender,
    blocks: Iterable[HistoryBlock],
    result: Result,
    making: Making | None = None,
    *,
    may_be_empty: bool = False,
) -> ScoreCounts:
    """Write a list for every user.

    Reading, scoring and writing overlap; memory does not grow with the users. A call that is killed
    leaves complete parts; the same call again goes on after them, and ends with the same bytes.

    Args:
        model: fitted.
        blocks: histories, the same ones in the same blocks whenever a call is repeated.
        result: what to write.
        making: how lists are made beyond the order of the scores.
        may_be_empty: whether it is no error that there is nobody to score.

    Returns:
        The counts, those of parts that were there already included; also in the manifest.

    Raises:
        InputError: `out` holds something else, parts were begun with another identity, k is out of
            range, a history is unusable, no item of any history is known, or approximate lists of
            the first block hold too little of the exact ones.
    """
    started = time.perf_counter()
    identity = {
        "model": model.name,
        "items": model.items.fingerprint,
        "k": result.k,
        "form": result.form,
        "users_per_part": result.users_per_part,
        **result.identity,
    }
    with Workplace.open(result.out, identity) as place, SideBySide() as sides:
        ranker = Ranker(model, result.k, making)
        work = _Work(ranker, result, place, sides, may_be_empty=may_be_empty)
        counts, n_parts = work.all_parts(read_ahead(iter(blocks)))
        if not counts.users and not may_be_empty:
            raise InputError("there is no user to score: give a history file with rows")
        seconds = time.perf_counter() - started
        if result.at_end is not None:
            result.at_end(place.folder)
        place.finish(
            {
                "version": __version__,
                "model": model.name,
                "items_fingerprint": model.items.fingerprint,
                "k": result.k,
                "form": result.form,
                "parts": n_parts,
                **result.manifest,
                "counts": asdict(counts),
                "approximate_recall": counts.recall.mean,
                "seconds": round(seconds, 3),
                "users_per_second": round(work.scored / seconds, 1),
                "begun_before": work.scored < counts.users,
            }
        )
    return counts


class _Work:
    def __init__(
        self,
        ranker: Ranker,
        result: Result,
        place: Workplace,
        sides: SideBySide,
        *,
        may_be_empty: bool,
    ) -> None:
        self._ranker, self._result, self._place, self._sides = ranker, result, place, sides
        self._may_be_empty = may_be_empty
        self._bar = tqdm(
            desc="score", unit="user", unit_scale=True, disable=None if result.progress else True
        )
        self._shown = result.progress and self._bar.disable
        self.scored = 0
        self._begun = time.perf_counter()  # a bar that is not shown keeps no time

    def all_parts(self, blocks: Iterator[HistoryBlock]) -> tuple[ScoreCounts, int]:
        """Make the parts that are not there; give the counts of all, and how many there are."""
        total, number = ScoreCounts(), 0
        n_done = self._place.n_done()
        try:
            for part in _by_part(blocks, self._result.users_per_part):
                if number < n_done:
                    counts = self._passed_over(part, number)
                else:
                    counts = self._one_part(part, number)
                total.add(counts)
                number += 1
                if self._shown or self._bar.disable:
                    self._result.say(
                        f"part {number}: {total.users:,} users"
                        + (" (was there)" if number <= n_done else f", {self._rate()} a second")
                    )
        finally:
            self._bar.close()
        if number < n_done:
            raise self._begun_otherwise()
        return total, number

    def _begun_otherwise(self) -> InputError:
        return InputError(
            f"{self._place.folder} was begun with other histories: delete it to begin anew, or "
            "give another --out"
        )

    def _rate(self) -> str:
        return f"{self.scored / (time.perf_counter() - self._begun):,.0f}"

    def _passed_over(self, part: Iterator[HistoryBlock], number: int) -> ScoreCounts:
        noted = self._place.noted(number)
        counts, found, first = ScoreCounts(**noted["counts"]), 0, ""
        for block in part:
            first = first or str(block.users[:1].tolist())
            found += len(block.users)
        self._bar.update(found)
        if found != counts.users or first != noted["first"]:
            raise self._begun_otherwise()
        approximate = self._ranker.making.approximate
        if approximate is not None:
            approximate.check(counts.recall)
        return counts

    def _one_part(self, part: Iterator[HistoryBlock], number: int) -> ScoreCounts:
        counts, first = ScoreCounts(), ""
        with self._place.part(number) as writer, Behind() as behind:
            group = _Group(writer)
            for block, made in self._made(part, compared=not number):
                first = first or str(block.users[:1].tolist())
                counts.add(ScoreCounts.of(block, made))
                behind.do(partial(self._write, group, block, made))
                self.scored += len(block.users)
                self._bar.update(len(block.users))
            behind.do(group.flush)
            behind.catch_up()
            nobody_known = counts.unknown_items and counts.without_history == counts.users
            if not number and nobody_known and not self._may_be_empty:
                raise InputError(
                    f"the model knows none of the {counts.unknown_items} items in the first "
                    f"{counts.users} histories: give histories of the data that it was trained on"
                )
            writer.note({"first": first, "counts": asdict(counts)})
        return counts

    def _made(
        self, part: Iterator[HistoryBlock], *, compared: bool
    ) -> Iterator[tuple[HistoryBlock, Made]]:
        def make(block: HistoryBlock, *, compared: bool = False) -> Made:
            return self._ranker.make(block.users, block.given, block.seen, compared=compared)

        # The first block prepares the ranker for all, alone.
        yield from self._sides.make(partial(make, compared=compared), islice(part, 1))
        yield from self._sides.make(make, part)

    def _write(self, group: "_Group", block: HistoryBlock, made: Made) -> None:
        items, lists = self._ranker.model.items, made.lists
        if self._result.form == "long":
            table = long_table(block.users, lists, items, made.because)
        else:
            empty_B = np.diff(block.given.indptr) == 0
            table = list_table(block.users, lists, items, empty_B, made.because)
        group.add(table, state_table(block), int(lists.lengths.sum()))


class _Group:
    """Gathers blocks until they make a row group."""

    def __init__(self, writer: PartWriter) -> None:
        self._writer = writer
        self._waiting: list[tuple[pa.Table, pa.Table]] = []
        self._rows = 0

    def add(self, table: pa.Table, states: pa.Table, rows: int) -> None:
        self._waiting.append((table, states))
        self._rows += rows
        if self._rows >= _ROWS_OF_A_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            tables, states = zip(*self._waiting, strict=True)
            self._writer.write(pa.concat_tables(tables), pa.concat_tables(states))
        self._waiting, self._rows = [], 0


def _by_part(
    blocks: Iterator[HistoryBlock], users_per_part: int
) -> Iterator[Iterator[HistoryBlock]]:
    """Cut a stream of blocks into streams for the parts; each must be used up before the next."""
    pending = next(blocks, None)

    def one_part() -> Iterator[HistoryBlock]:
        nonlocal pending
        room = users_per_part
        while pending is not None and room > 0:
            block, size = pending, len(pending.users)
            if size <= room:
                # Known before it is given away: whether there is more decides whether to go on.
                pending = next(blocks, None)
            else:
                block = pending.rows(np.arange(room))
                pending = pending.rows(np.arange(room, size), counted=False)
            room -= len(block.users)
            yield block

    while pending is not None:
        yield one_part()

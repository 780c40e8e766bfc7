"""Where rows go that cannot be taken: a file with row number and reason."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any, Final

from recsys_vae.ingest.block import ROLES
from recsys_vae.ingest.checks import Rejected

QUARANTINE: Final = "quarantine.csv"
_COLUMNS: Final = ("file", "row", "reason", *ROLES, "text")


class Quarantine:
    """Writes rejected rows to a CSV file, which exists only if there are any.

    Attributes:
        counts: rejected rows by reason.
        first: a sentence's part on the first of them, or None.
    """

    def __init__(self, path: Path) -> None:
        """Take the file's path; nothing is written yet."""
        path.unlink(missing_ok=True)
        self._path = path
        self._file: Any = None
        self._writer: Any = None
        self.counts: Counter[str] = Counter()
        self.first: str | None = None

    def add(self, name: str, before: int, rejected: Rejected) -> None:
        """Write rows.

        Args:
            name: of the file they come from.
            before: records of that file before their block.
            rejected: the rows.
        """
        if self._writer is None:
            self._file = self._path.open("w", encoding="utf-8", errors="replace", newline="")
            self._writer = csv.writer(self._file)
            self._writer.writerow(_COLUMNS)
        rows = (rejected.records + before + 1).tolist()
        blank = [None] * len(rows)
        values = [rejected.values.get(name, blank) for name in (*ROLES, "text")]
        self._writer.writerows(
            zip([name] * len(rows), rows, rejected.reasons, *values, strict=True)
        )
        self.counts.update(rejected.reasons)
        if self.first is None:
            shown = next((column[0] for column in reversed(values) if column[0] is not None), "")
            self.first = f"{name}, row {rows[0]}: {rejected.reasons[0]}"
            wrong = next((role for role in ROLES if role in rejected.reasons[0]), None)
            wrong = "timestamp" if "time" in rejected.reasons[0] else wrong
            given = rejected.values.get(wrong, blank)[0] if wrong else shown
            self.first += f" ({given[:80]!r})" if given else ""

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

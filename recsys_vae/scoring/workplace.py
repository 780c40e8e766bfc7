"""A folder of parts that is filled bit by bit, survives being killed, and appears when complete."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet
from filelock import FileLock, Timeout

from recsys_vae.errors import InputError, reason
from recsys_vae.files import (
    atomic_file,
    check_replaceable,
    read_json,
    replace_folder,
    tidy,
    write_json,
)

MANIFEST: Final = "_manifest.json"
PARTS: Final = "part-*.parquet"
STATES: Final = "_history-*.parquet"
_IDENTITY: Final = "_begun.json"
_LOCK: Final = ".lock"
CONTENTS: Final = (MANIFEST, PARTS, STATES, _IDENTITY, _LOCK)
"""What the folder may hold; the last two only until it is complete."""
_NOTED: Final = b"recsys_vae.part"


def part_name(number: int) -> str:
    """Name a part.

    >>> part_name(3)
    'part-00003.parquet'
    """
    return f"part-{number:05d}.parquet"


def state_name(number: int) -> str:
    """Name the file that says of which histories a part was made."""
    return f"_history-{number:05d}.parquet"


def unfinished(out: Path) -> Path:
    """Say where the parts of a result lie until it is complete: beside it, whatever links say."""
    out = out.resolve()
    return out.with_name(f"{out.name}.unfinished")


def check_no_result(histories: str, there: bool) -> None:
    """Refuse what `score` has made as something that users have taken.

    Args:
        histories: named in the message.
        there: whether there is a manifest in it.

    Raises:
        InputError: there is.
    """
    if there:
        raise InputError(
            f"{histories} is a result of score, which holds lists and no histories: give the file "
            "of histories that it was made of"
        )


def check_out(out: Path, histories: Path) -> None:
    """Refuse a place for a result that holds anything but an earlier result.

    Args:
        out: where the result is to be.
        histories: what is to be scored.

    Raises:
        InputError: it does, or nothing can be moved there.
    """
    real = out.resolve()
    if real == histories.resolve() or real in histories.resolve().parents:
        raise InputError(
            f"--out {out} holds the histories, which would be lost: give another --out"
        )
    if Path.cwd().is_relative_to(real):
        raise InputError(f"--out {out} is the folder you are in: give one within it")
    check_replaceable(out, CONTENTS)
    if any(real.glob(PARTS)) and not (real / MANIFEST).is_file():
        raise InputError(
            f"{out} holds {PARTS} but no {MANIFEST}, so that it is no result of scoring: choose "
            "another --out, or empty the folder"
        )
    if real.is_dir() and real.stat().st_dev != real.parent.stat().st_dev:
        raise InputError(
            f"--out {out} is a file system of its own, which no finished folder can be moved to: "
            "name a folder within it"
        )


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the parts of a result are made, beside the result's final place.

    Attributes:
        folder: `OUT.unfinished`; it stays when a run is killed, and the next one goes on in it.
        out: the final place.
    """

    folder: Path
    out: Path

    @classmethod
    @contextmanager
    def open(cls, out: Path, identity: dict[str, Any]) -> Iterator["Workplace"]:
        """Claim the place for one run.

        Args:
            out: final place; a result that is there stays until the new one is complete.
            identity: what parts of one result must have in common, by name.

        Raises:
            InputError: `out` holds something else, another process works there, or the parts that
                are there already were made with another identity.
        """
        check_replaceable(out, CONTENTS)
        folder = unfinished(out)
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"another process is working in {folder}: wait for it, or give another --out"
            ) from error
        place = cls(folder, out)
        tidy(out.resolve())
        # Nobody else is here: what is half-written is of a run that was killed.
        for left in folder.glob(".*.partial-*"):
            left.unlink(missing_ok=True)
        try:
            place._claim(identity)
            yield place
        except BaseException:
            if fresh and not place.n_done():
                # Nothing was made: nothing is left behind.
                shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            lock.release()

    @staticmethod
    def begun(out: Path) -> dict[str, Any]:
        """Give the identity of what was begun and not completed; empty: nothing was."""
        path = unfinished(out) / _IDENTITY
        if not path.exists():
            return {}
        return read_json(path, what="an unfinished result", remedy="delete its folder")

    def _claim(self, identity: dict[str, Any]) -> None:
        check_replaceable(self.folder, CONTENTS)
        path = self.folder / _IDENTITY
        if not path.exists():
            write_json(path, identity)
            return
        begun = self.begun(self.out)
        known = json.loads(json.dumps(identity))
        other = next((name for name in known if begun.get(name) != known[name]), None)
        if other is not None:
            raise InputError(
                f"{self.folder} was begun with different {other}: give the options of then to go "
                "on with it, delete it to begin anew, or give another --out"
            )

    def n_done(self) -> int:
        """Count the parts from the first on that are complete."""
        number = 0
        while (self.folder / part_name(number)).is_file():
            number += 1
        return number

    def noted(self, number: int) -> dict[str, Any]:
        """Give what was noted down with a complete part: `first`, its first user, and `counts`.

        Raises:
            InputError: the part, or what says of which histories it was made, is damaged.
        """
        path = self.folder / part_name(number)
        try:
            found: dict[str, Any] = json.loads(pa.parquet.read_metadata(path).metadata[_NOTED])
            path = self.folder / state_name(number)
            if pa.parquet.read_metadata(path).num_rows != found["counts"]["users"]:
                raise ValueError("it has other users than its part")
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise InputError(
                f"{path} is damaged ({reason(error)}): delete {part_name(number)} and the parts "
                "after it"
            ) from error
        return found

    @contextmanager
    def part(self, number: int) -> Iterator["PartWriter"]:
        """Give a writer for a part, which appears when the block ends well."""
        states = self.folder / state_name(number)
        with (
            atomic_file(self.folder / part_name(number)) as path,
            atomic_file(states) as state_path,
        ):
            writer = PartWriter(path, state_path)
            try:
                yield writer
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, and move everything to its final place."""
        write_json(self.folder / MANIFEST, manifest)
        replace_folder(self.folder, self.out, CONTENTS)
        # Only now: until then nobody else may begin in the folder.
        for name in (_IDENTITY, _LOCK):
            (self.out / name).unlink(missing_ok=True)


def repeating(schema: pa.Schema) -> list[str]:
    """Name the columns whose values come again and again, which a dictionary makes small.

    Scores do not, and neither do users where each has one row: trying would only cost time.
    """
    alone = "rank" not in schema.names
    columns = [field for field in schema if not (alone and field.name == "user")]
    return [
        f"{one.name}.list.element" if pa.types.is_list(one.type) else one.name
        for one in columns
        if one.name not in ("score", "scores", "history", "because")
    ]


class PartWriter:
    """Writes one part, table by table, and beside it of which histories it was made."""

    def __init__(self, path: Path, state_path: Path) -> None:
        """Open nothing before the first table tells the columns."""
        self._paths = path, state_path
        self._writers: list[Any] = []

    def write(self, table: pa.Table, states: pa.Table) -> None:
        """Append rows, as one row group."""
        if not self._writers:
            self._writers = [
                pa.parquet.ParquetWriter(path, one.schema, use_dictionary=repeating(one.schema))
                for path, one in zip(self._paths, (table, states), strict=True)
            ]
        for writer, one in zip(self._writers, (table, states), strict=True):
            writer.write_table(one)

    def note(self, found: dict[str, Any]) -> None:
        """Note down in the part itself what it holds."""
        self._writers[0].add_key_value_metadata({_NOTED: json.dumps(found)})

    def close(self) -> None:
        """Write the files' ends."""
        for writer in self._writers:
            writer.close()

    def abandon(self) -> None:
        """Let go of files that are not wanted any more."""
        for writer in self._writers:
            # Whatever is wrong has been said; the files go anyway.
            with suppress(OSError, ValueError):
                writer.close()

"""Files and folders where Spark keeps them: HDFS, an object store, a local disk.

A path is what Spark takes it for: without a scheme it lies on the cluster's default file system.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from recsys_vae.errors import InputError, reason

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file.

    Attributes:
        name: within the folder that was looked through.
        size: in bytes.
        changed: in milliseconds since 1970.
    """

    name: str
    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class Storage:
    """A path on one of Spark's file systems.

    Attributes:
        session: whose file systems.
        path: as it was given.
    """

    session: "SparkSession"
    path: str

    @classmethod
    def of(cls, session: "SparkSession", path: str) -> Self:
        """Take a path.

        Raises:
            InputError: there is no such file system, or it cannot be reached.
        """
        storage = cls(session, path)
        with _told(path):
            # Python's working folder may be another than that of a Java that was started before.
            if storage._on_disk() and "://" not in path and not path.startswith("file:"):
                return cls(session, str(Path(path).absolute()))
        return storage

    def files(self) -> list[StoredFile]:
        """Give the files at or below the path, but for those whose name is hidden.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        with _told(self.path):
            system, path = self._system(), self._hadoop(self.path)
            if not system.exists(path):
                raise InputError(f"{self.path} does not exist where Spark looks: check the path")
            root = path.makeQualified(system.getUri(), system.getWorkingDirectory())
            top, found = root.toString(), []
            listed = system.listFiles(root, True)
            while listed.hasNext():
                status = listed.next()
                name = status.getPath().toString().removeprefix(top).lstrip("/")
                if not any(part.startswith((".", "_")) for part in name.split("/")):
                    name = name or root.getName()
                    found.append(StoredFile(name, status.getLen(), status.getModificationTime()))
        if not found:
            raise InputError(f"{self.path} is a folder without files: give one with data in it")
        return sorted(found, key=lambda one: one.name)

    def holds(self, name: str) -> bool:
        """Say whether there is something of this name in the folder."""
        with _told(self.path):
            return bool(self._system().exists(self._hadoop(f"{self.path}/{name}")))

    def check_replaceable(self, contents: Sequence[str], proof: str | None = None) -> None:
        """Refuse a folder that would lose something if a new one took its place.

        Args:
            contents: names (with wildcards) that a folder of this kind may hold.
            proof: a name without which it is none of this kind; None: there is no such.

        Raises:
            InputError: the path is a file, or a folder that holds anything but `contents`.
        """
        with _told(self.path):
            system, path = self._system(), self._hadoop(self.path)
            if not system.exists(path):
                return
            if not system.getFileStatus(path).isDirectory():
                raise InputError(
                    f"{self.path} is no folder but a folder is to be written: choose another --out"
                )
            names = sorted(one.getPath().getName() for one in system.listStatus(path))
        foreign = [one for one in names if not any(fnmatch(one, known) for known in contents)]
        if foreign:
            raise InputError(
                f"{self.path} holds {foreign[0]!r}, which is no part of what is to be written "
                "there: choose another --out, or empty the folder"
            )
        if proof is not None and names and proof not in names:
            raise InputError(
                f"{self.path} holds {names[0]!r} but no {proof}, so that it is no earlier result: "
                "choose another --out, or empty the folder"
            )

    @contextmanager
    def made_new(self, contents: Sequence[str]) -> Iterator["Storage"]:
        """Give a folder beside the path; move it there if the block succeeds.

        Where a file system moves folders in one step, as HDFS and disks do, the folder appears as
        a whole; an object store copies file by file.

        Args:
            contents: names (with wildcards) that a folder of this kind may hold.

        Raises:
            InputError: the path holds something else.
        """
        self.check_replaceable(contents)
        system, path = self._system(), self._hadoop(self.path)
        # A name that begins with "." is passed over by all that read folders.
        fresh = self._beside(f"partial-{uuid4().hex[:6]}")
        old = self._beside(f"old-{uuid4().hex[:6]}")
        not_wanted = [fresh]
        try:
            yield fresh
            with _told(self.path):
                fresh._clear_sums()
                replaced = system.exists(path)
                if replaced:
                    self._move(self.path, old.path)
                try:
                    self._move(fresh.path, self.path)
                except BaseException:
                    if replaced:
                        # What was moved of the new one would take in the old one.
                        system.delete(path, True)
                        self._move(old.path, self.path)
                    raise
                # Until here it may be all that there is.
                not_wanted.append(old)
        finally:
            for left in not_wanted:
                with suppress(Exception):  # what is wrong has been said
                    system.delete(self._hadoop(left.path), True)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of JSON into the folder."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        with _told(self.path):
            stream = self._system().create(self._hadoop(f"{self.path}/{name}"))
            stream.write(bytearray(text.encode("utf-8")))
            stream.close()

    def _move(self, source: str, target: str) -> None:
        if not self._system().rename(self._hadoop(source), self._hadoop(target)):
            raise InputError(f"{target} cannot be written: check that its folder may be written to")

    def _clear_sums(self) -> None:
        """Remove what Hadoop leaves for itself: checksums on a disk, the mark of an end.

        All that reads folders of Parquet passes over them, but they are no part of a result.
        """
        system = self._system()
        for status in system.listStatus(self._hadoop(self.path)):
            name = status.getPath().getName()
            if name.endswith(".crc") or name == "_SUCCESS":
                system.delete(status.getPath(), False)

    def _beside(self, role: str) -> "Storage":
        head, slash, name = self.path.rstrip("/").rpartition("/")
        return Storage(self.session, f"{head}{slash}.{name}.{role}")

    def _hadoop(self, path: str) -> Any:
        return self._java().org.apache.hadoop.fs.Path(path)

    def _java(self) -> Any:
        # What Spark reads with; it has no name of its own in Python.
        return self.session.sparkContext._jvm

    def _system(self) -> Any:
        settings = self._settings()
        if self._on_disk():
            # The plain one, which shows the files of checksums, too.
            return self._java().org.apache.hadoop.fs.FileSystem.getLocal(settings).getRaw()
        return self._hadoop(self.path).getFileSystem(settings)

    def _on_disk(self) -> bool:
        system = self._hadoop(self.path).getFileSystem(self._settings())
        return bool(system.getUri().getScheme() == "file")

    def _settings(self) -> Any:
        context: Any = self.session.sparkContext
        return context._jsc.hadoopConfiguration()


def fingerprint(files: Sequence[StoredFile]) -> str:
    """Give what tells these files from others: names, sizes and times of change."""
    stats = [(one.name, one.size, one.changed) for one in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Tell in one sentence what a file system says."""
    from py4j.protocol import Py4JJavaError

    try:
        yield
    except Py4JJavaError as error:
        raise InputError(
            f"{path} cannot be used by Spark ({reason(Exception(error.java_exception))}): check "
            "the path, its permissions and the cluster's access to it"
        ) from error

"""Interactions on disk: plain arrays plus JSON, mapped into memory, refused when damaged."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_array

from recsys_vae.errors import InputError, reason
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions.id_map import IdMap
from recsys_vae.interactions.interactions import Interactions, fingerprint_of, index_width

FORMAT_VERSION = 2
MANIFEST = "interactions.json"
_ARRAYS = ("indptr", "indices", "data", "times")
_IDS = ("users", "items")
CONTENTS = (*(f"{name}.npy" for name in _ARRAYS), *(f"{name}.arrow" for name in _IDS), MANIFEST)
"""What such a folder may hold; the manifest, which names the checksums, comes last."""
INTERACTIONS = "interactions"
LOW_RATINGS = "low-ratings"
"""Names of folders within one that `ingest` wrote: what users took, and what they rated low."""
REMEDY = "make it with 'recsys-vae ingest' or 'recsys-vae split'"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some users' interactions, one user after the other, items sorted within each user.

    Attributes:
        items: (n,) item numbers.
        values: (n,) float32, or None where all are 1.
        times: (n,) milliseconds since 1970-01-01 UTC, or None.
    """

    items: npt.NDArray[np.integer[Any]]
    values: npt.NDArray[np.float32] | None = None
    times: npt.NDArray[np.int64] | None = None


def save_ids(ids: IdMap, path: Path) -> None:
    """Write an id map as an Arrow file."""
    table = pa.table({"id": ids.to_arrow()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def load_ids(path: Path) -> IdMap:
    """Map an id map that `save_ids` wrote into memory."""
    column = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column("id")
    return IdMap.from_arrow(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))


def save_interactions(interactions: Interactions, folder: Path) -> None:
    """Write interactions into `folder`, which appears only when complete.

    Args:
        interactions: what to write.
        folder: is created, or replaced as a whole.
    """
    matrix = interactions.matrix
    rows = Rows(matrix.indices, matrix.data, interactions.times)
    save_rows(folder, interactions.users, interactions.items, np.diff(matrix.indptr), [rows])


def save_rows(
    folder: Path,
    users: IdMap,
    items: IdMap,
    lengths: npt.NDArray[np.integer[Any]],
    parts: Iterable[Rows],
) -> str:
    """Write interactions that need not fit in memory into `folder`.

    Args:
        folder: is created, or replaced as a whole; appears only when complete.
        users: one id a row.
        items: one id a column.
        lengths: (users,) interactions of each user.
        parts: all interactions, user by user; all or none of them have times.

    Returns:
        The fingerprint.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    width = index_width(int(offsets[-1]), len(items))
    with atomic_folder(folder, CONTENTS) as temporary, ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        count, sums = int(offsets[-1]), dict[str, str]()
        arrays = {
            "indices": _Array(temporary, "indices", width, count, stack),
            "data": _Array(temporary, "data", np.float32, count, stack),
        }
        for part in parts:
            ones = np.ones(len(part.items), np.float32) if part.values is None else part.values
            pieces = {"indices": part.items, "data": ones}
            if part.times is not None:
                if "times" not in arrays:
                    arrays["times"] = _Array(temporary, "times", np.int64, count, stack)
                pieces["times"] = part.times
            writing = [pool.submit(arrays[name].append, piece) for name, piece in pieces.items()]
            for one in writing:
                one.result()
        arrays["indptr"] = _Array(temporary, "indptr", width, len(offsets), stack)
        arrays["indptr"].append(offsets)
        for name, array in arrays.items():
            sums[f"{name}.npy"] = array.close()
        for name, ids in zip(_IDS, (users, items), strict=True):
            save_ids(ids, temporary / f"{name}.arrow")
            sums[f"{name}.arrow"] = file_sum(temporary / f"{name}.arrow")
        fingerprint = fingerprint_of(users, items, {n: sums[f"{n}.npy"] for n in arrays})
        manifest = {
            "format_version": FORMAT_VERSION,
            "users": len(users),
            "items": len(items),
            "interactions": count,
            "fingerprint": fingerprint,
            "sha256": dict(sorted(sums.items())),
        }
        write_json(temporary / MANIFEST, manifest)
    return fingerprint


def _header(kind: np.dtype[Any], count: int) -> bytes:
    """Give the head of a `.npy` file, format 1.0, of `count` values in a row.

    The same bytes whatever NumPy's version: what a file must begin with can be checked.
    """
    text = f"{{'descr': '{kind.str}', 'fortran_order': False, 'shape': ({count},), }}".encode()
    # Values begin at a multiple of 64 bytes; magic, version and length before the text take 10.
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _map_array(path: Path, kind: type, count: int) -> npt.NDArray[Any]:
    """Map an array of known type and length; nothing in the file is believed unchecked."""
    header = _header(np.dtype(kind), count)
    expected = len(header) + count * np.dtype(kind).itemsize
    with path.open("rb") as file:
        if path.stat().st_size != expected or file.read(len(header)) != header:
            raise ValueError(f"{path.name} is not as it was written")
    if not count:
        return np.empty(0, dtype=kind)
    # Copy on write: whoever changes values changes them in memory, never in the file.
    return np.memmap(path, dtype=kind, mode="c", offset=len(header), shape=(count,))


class _Array:
    """A `.npy` file that grows piece by piece; the checksum is that of the bare values."""

    def __init__(self, folder: Path, name: str, kind: type, count: int, stack: ExitStack) -> None:
        self._kind, self._left, self._sum = np.dtype(kind), count, hashlib.sha256()
        self._file = stack.enter_context((folder / f"{name}.npy").open("wb", buffering=0))
        self._file.write(_header(self._kind, count))

    def append(self, piece: npt.NDArray[Any]) -> None:
        values = np.ascontiguousarray(piece, dtype=self._kind)
        self._left -= len(values)
        self._sum.update(values.data)
        left = values.view(np.uint8).data
        while len(left):
            # One call writes at most 2 GiB, and on a disk that is nearly full only what fits.
            left = left[self._file.write(left) :]

    def close(self) -> str:
        if self._left:
            raise ValueError(f"{self._left} values are missing at the end")
        self._file.close()
        return self._sum.hexdigest()


def load_interactions(folder: Path) -> Interactions:
    """Map interactions into memory, checked against their checksums.

    Args:
        folder: where `save_interactions` wrote.

    Returns:
        The interactions; their arrays stay on disk until they are used.

    Raises:
        InputError: the folder is absent, incomplete, damaged, or of another format version.
    """
    manifest = read_json(folder / MANIFEST, what="a folder of interactions", remedy=REMEDY)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format version {manifest.get('format_version')}, "
            f"this version reads {FORMAT_VERSION}: {REMEDY} again"
        )
    sums = manifest.get("sha256")
    if not isinstance(sums, dict) or not set(CONTENTS[:-1]) - {"times.npy"} <= set(sums):
        raise _damaged(folder, "its manifest lacks checksums")
    try:
        n_users, n_items, count = (int(manifest[name]) for name in (*_IDS, "interactions"))
        width = index_width(count, n_items)
        shapes: dict[str, tuple[type, int]] = {
            "indptr": (width, n_users + 1),
            "indices": (width, count),
            "data": (np.float32, count),
            "times": (np.int64, count),
        }
        arrays = {
            name: _map_array(folder / f"{name}.npy", *shape)
            for name, shape in shapes.items()
            if f"{name}.npy" in sums
        }
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(arrays, pool.map(_sum_of, arrays.values()), strict=True))
        for name in arrays:
            if found[name] != sums[f"{name}.npy"]:
                raise _damaged(folder, f"{name}.npy is not as it was written")
        id_sums = {f"{name}.arrow": sums[f"{name}.arrow"] for name in _IDS}
        check_sums(folder, list(id_sums), id_sums, REMEDY)
        users, items = (load_ids(folder / f"{name}.arrow") for name in _IDS)
        if (len(users), len(items)) != (n_users, n_items):
            raise _damaged(folder, "its manifest has other numbers of users or items than its ids")
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        matrix = csr_array(parts, shape=(len(users), len(items)))
        interactions = Interactions(users, items, matrix, times=arrays.get("times"))
    except FileNotFoundError as error:
        raise _damaged(folder, f"{Path(str(error.filename)).name} is missing") from error
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise _damaged(folder, reason(error)) from error
    # What has just been checked need not be summed up again.
    expected = fingerprint_of(users, items, found)
    if manifest.get("fingerprint") != expected:
        raise _damaged(folder, "its parts do not belong together")
    interactions.__dict__["fingerprint"] = expected
    return interactions


def _sum_of(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(array.data).hexdigest()


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(f"{folder} is damaged ({why}): {REMEDY} again")


def file_sum(path: Path) -> str:
    """Give the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sums(folder: Path, names: Sequence[str], sums: object, remedy: str) -> None:
    """Check files against their checksums before any parser sees them.

    Args:
        folder: of the files.
        names: of the files that must have one.
        sums: SHA-256 by file name, from a manifest.
        remedy: for the error sentence.

    Raises:
        InputError: a file is missing or is not as it was written.
    """
    if not isinstance(sums, dict) or set(sums) != set(names):
        raise InputError(f"{folder} is damaged (its manifest lacks checksums): {remedy} again")
    for name, expected in sums.items():
        try:
            same = file_sum(folder / name) == expected
        except OSError as error:
            raise InputError(
                f"{folder} is damaged ({name} cannot be read): {remedy} again"
            ) from error
        if not same:
            raise InputError(
                f"{folder} is damaged ({name} is not as it was written): {remedy} again"
            )


def stored_or(path: Path) -> Path:
    """Give the stored interactions within a folder that `ingest` wrote; any other path as it is."""
    within = path / INTERACTIONS
    return within if (within / MANIFEST).is_file() else path


def low_ratings_beside(path: Path) -> Path | None:
    """Give the folder of what the users of stored interactions rated low, if there is one.

    Args:
        path: of the interactions, as `ingest` placed them.
    """
    path = path.resolve()
    beside = path.parent / LOW_RATINGS
    return beside if path.name == INTERACTIONS and (beside / MANIFEST).is_file() else None

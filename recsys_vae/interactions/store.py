"""Interactions on disk: plain arrays plus JSON, written atomically, refused when damaged."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from recsys_vae.errors import InputError, reason
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions.id_map import IdMap
from recsys_vae.interactions.interactions import Interactions

FORMAT_VERSION = 1
MANIFEST = "interactions.json"
_ARRAYS = ("indptr", "indices", "data")
CONTENTS = (*(f"{name}.npy" for name in _ARRAYS), "users.arrow", "items.arrow", MANIFEST)
"""What such a folder holds; the manifest, which names the checksums of the others, comes last."""


def save_ids(ids: IdMap, path: Path) -> None:
    """Write an id map as an Arrow file."""
    table = pa.table({"id": ids.to_arrow()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def load_ids(path: Path) -> IdMap:
    """Read an id map that `save_ids` wrote."""
    with pa.OSFile(str(path), "rb") as source:
        column = pa.ipc.open_file(source).read_all().column("id")
    return IdMap.from_arrow(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))


def save_interactions(interactions: Interactions, folder: Path) -> None:
    """Write interactions into `folder`, which appears only when complete.

    Args:
        interactions: what to write.
        folder: is created, or replaced as a whole.
    """
    with atomic_folder(folder, CONTENTS) as temporary:
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(interactions.matrix, name))
        save_ids(interactions.users, temporary / "users.arrow")
        save_ids(interactions.items, temporary / "items.arrow")
        sums = {file.name: file_sum(file) for file in sorted(temporary.iterdir())}
        write_json(temporary / MANIFEST, {**_manifest(interactions), "sha256": sums})


def load_interactions(folder: Path) -> Interactions:
    """Read interactions and check them against their checksums.

    Args:
        folder: where `save_interactions` wrote.

    Returns:
        The interactions.

    Raises:
        InputError: the folder is absent, incomplete, damaged, or of another format version.
    """
    remedy = "make it with 'recsys-vae ingest' or 'recsys-vae split'"
    manifest = read_json(folder / MANIFEST, what="a folder of interactions", remedy=remedy)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{folder} has format version {manifest.get('format_version')}, "
            f"this version reads {FORMAT_VERSION}: {remedy} again"
        )
    check_sums(folder, CONTENTS[:-1], manifest.get("sha256"), remedy)
    try:
        data, indices, indptr = (
            np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("data", "indices", "indptr")
        )
        users, items = load_ids(folder / "users.arrow"), load_ids(folder / "items.arrow")
        matrix = csr_array((data, indices, indptr), shape=(len(users), len(items)))
        interactions = Interactions(users, items, matrix)
    except (OSError, ValueError, IndexError, pa.ArrowException) as error:
        raise InputError(f"{folder} is damaged ({reason(error)}): {remedy} again") from error
    return interactions


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


def _manifest(interactions: Interactions) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "users": len(interactions.users),
        "items": len(interactions.items),
        "interactions": len(interactions),
        "fingerprint": interactions.fingerprint,
    }

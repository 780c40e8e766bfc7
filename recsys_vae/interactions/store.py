"""Interactions on disk: plain arrays plus JSON, written atomically, refused when damaged."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.interactions.id_map import IdMap
from recsys_vae.interactions.interactions import Interactions

FORMAT_VERSION = 1
MANIFEST = "interactions.json"
_ARRAYS = ("indptr", "indices", "data")


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
    with atomic_folder(folder) as temporary:
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(interactions.matrix, name))
        save_ids(interactions.users, temporary / "users.arrow")
        save_ids(interactions.items, temporary / "items.arrow")
        write_json(temporary / MANIFEST, _manifest(interactions))


def load_interactions(folder: Path) -> Interactions:
    """Read interactions and check them against their fingerprint.

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
    try:
        data, indices, indptr = (
            np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("data", "indices", "indptr")
        )
        users, items = load_ids(folder / "users.arrow"), load_ids(folder / "items.arrow")
        matrix = csr_array((data, indices, indptr), shape=(len(users), len(items)))
        interactions = Interactions(users, items, matrix)
        fingerprint = interactions.fingerprint
    except (OSError, ValueError, IndexError, pa.ArrowException, EOFError) as error:
        raise InputError(f"{folder} is damaged ({error}): {remedy} again") from error
    if fingerprint != manifest.get("fingerprint"):
        raise InputError(f"{folder} is damaged (its fingerprint does not match): {remedy} again")
    return interactions


def _manifest(interactions: Interactions) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "users": len(interactions.users),
        "items": len(interactions.items),
        "interactions": len(interactions),
        "fingerprint": interactions.fingerprint,
    }

"""Fetch a data set by its card into a folder that appears only when it is complete."""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, read_json, write_json
from recsys_vae.ingest.archives import DamagedArchiveError, is_archive, unpack
from recsys_vae.ingest.cards import Card, Source
from recsys_vae.ingest.transfer import Patience, discard, transfer

MANIFEST: Final = "fetched.json"


def fetched(card: Card, folder: Path) -> Path | None:
    """Give the folder of a data set that was fetched before, or None.

    Args:
        card: the data set.
        folder: that holds data sets.

    Raises:
        InputError: the folder is there, but is not what `fetch` wrote.
    """
    target = folder / card.name
    if card.obtain is not None:
        return target if not _missing(card, target) else None
    if not target.exists():
        return None
    urls = [file["url"] for file in _manifest(target)["files"]]
    if urls != [file.url for file in card.files] or _missing(card, target):
        raise InputError(
            f"{target} is not what the card describes: fetch it with --again, or move it away"
        )
    return target


def checksums(target: Path) -> list[dict[str, Any]]:
    """Give what was fetched into a folder: name, url, bytes, sha256 and checksum (or None).

    Raises:
        InputError: `fetch` did not write the folder.
    """
    files: list[dict[str, Any]] = _manifest(target)["files"]
    return files


def fetch(
    card: Card,
    folder: Path,
    *,
    progress: bool = True,
    again: bool = False,
    patience: Patience | None = None,
) -> Path:
    """Fetch a data set, unless it is there already.

    Interrupted, it leaves `NAME.FILE.part` behind and goes on there the next time.

    Args:
        card: the data set.
        folder: that holds data sets; `folder/NAME` is made.
        progress: whether to draw a bar on a terminal.
        again: fetch anew what is there already.
        patience: timeouts and tries.

    Returns:
        The folder of the data set, which holds its files, unpacked, and `fetched.json`.

    Raises:
        InputError: it cannot be fetched, is not what the card says, cannot be unpacked, or is just
            being fetched by another process.
    """
    target = folder / card.name
    if card.obtain is not None:
        there = fetched(card, folder)
        if there is None:
            paths = " and ".join(card.read.paths())
            raise InputError(
                f"'{card.name}' cannot be fetched ({card.obtain}): put {paths} of a copy of your "
                f"own into {target}"
            )
        return there
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{card.name}.lock", timeout=0):
            if not again and fetched(card, folder) is not None:
                return target
            _fetch(card, folder, progress, patience or Patience())
    except Timeout as error:
        raise InputError(
            f"another process is fetching '{card.name}' into {folder}: wait until it is done"
        ) from error
    return target


def _fetch(card: Card, folder: Path, progress: bool, patience: Patience) -> None:
    target = folder / card.name
    # Before hours of transfer, not after: nothing but what was fetched may be replaced.
    contents = _manifest(target)["contents"] if target.exists() else []
    parts = {file: folder / f"{card.name}.{file.name}.part" for file in card.files}
    records = []
    for file, part in parts.items():
        transfer(file.url, part, size=file.bytes, progress=progress, patience=patience)
        records.append(_checked(card, file, part))
    try:
        with atomic_folder(target, contents) as temporary:
            for file, part in parts.items():
                _lay_out(file, part, temporary)
            missing = _missing(card, temporary)
            if missing:
                raise InputError(
                    f"'{card.name}' came without {missing[0]}: the publisher may have changed it, "
                    "correct the card"
                )
            names = sorted({path.name for path in temporary.iterdir()} | {MANIFEST})
            write_json(temporary / MANIFEST, {"files": records, "contents": names})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{target} cannot be written ({str(error.strerror).lower()}): free some space and run "
            "the command again, nothing is fetched twice"
        ) from error
    for part in parts.values():
        discard(part)


def _checked(card: Card, file: Source, part: Path) -> dict[str, Any]:
    """Compare a file with its checksum; give what is to be remembered of it."""
    if file.checksum is not None:
        algorithm, _, expected = file.checksum.partition(":")
        found = _digest(part, algorithm)
        if found != expected:
            discard(part)
            raise InputError(
                f"{file.url} came with {algorithm} {found} where the card of '{card.name}' says "
                f"{expected}, and was thrown away: try again, or correct the card if the publisher "
                "has changed the file"
            )
    return {
        "name": file.name,
        "url": file.url,
        "bytes": part.stat().st_size,
        "sha256": _digest(part, "sha256"),
        "checksum": file.checksum,
    }


def _digest(path: Path, algorithm: str) -> str:
    # MD5 is what publishers give; it finds accidents, not forgers.
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(algorithm, usedforsecurity=False)
        ).hexdigest()


def _lay_out(file: Source, part: Path, folder: Path) -> None:
    if is_archive(Path(file.name)):
        try:
            unpack(part, folder, name=file.name)
        except DamagedArchiveError:
            discard(part)
            raise
        return
    try:
        os.link(part, folder / file.name)
    except OSError:  # a file system without hard links
        shutil.copyfile(part, folder / file.name)


def _missing(card: Card, folder: Path) -> list[str]:
    return [path for path in card.read.paths() if not (folder / path).exists()]


def _manifest(target: Path) -> dict[str, Any]:
    remedy = "move it away, or choose another --to"
    manifest = read_json(target / MANIFEST, what="a data set that was fetched", remedy=remedy)
    files, contents = manifest.get("files"), manifest.get("contents")
    if not isinstance(files, list) or not isinstance(contents, list):
        raise InputError(f"{target / MANIFEST} is damaged (it lists no files): {remedy}")
    return manifest

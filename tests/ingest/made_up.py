"""What tests of fetching share: cards of made-up data sets, archives of made-up files."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.cards import Card
from recsys_vae.ingest.download import fetch
from recsys_vae.ingest.transfer import Patience
from tests.ingest.faulty_server import FaultyServer

# Not a multiple of the block size, and several blocks long.
ROWS = b"user,item\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
# A silent server is left after half a second; the pauses only have to be pauses.
QUICK = Patience(connect=5.0, read=0.5, tries=4, pause=0.01)


def card_of(server: FaultyServer, *names: str, reads: str | None = None, **file: Any) -> Card:
    known = {"checksum_unconfirmed": "a test has none"} if "checksum" not in file else {}
    return Card.model_validate(
        {
            "name": "mine",
            "title": "A set of data",
            "about": "Who took what.",
            "licence": "Do what you like.",
            "citation": "A paper, 2020",
            "homepage": "https://example.org/",
            "files": [{"url": f"{server.url}/{name}", **known, **file} for name in names],
            "read": {
                "format": "csv",
                "interactions": reads or names[0],
                "columns": {"user": "user", "item": "item"},
            },
            "clean": {"source": "nobody in particular"},
        }
    )


def md5_of(content: bytes) -> dict[str, str]:
    digits = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"checksum": f"md5:{digits}", "checksum_source": "this very test"}


def got(card: Card, folder: Path, **more: Any) -> Path:
    return fetch(card, folder, progress=False, patience=QUICK, **more)


def left_in(folder: Path) -> list[str]:
    """What lies in a folder of data sets but the lock, which is empty and stays."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def refusal(card: Card, folder: Path, words: str, **more: Any) -> str:
    with pytest.raises(InputError, match=words) as refused:
        got(card, folder, **more)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert ": " in sentence
    assert not (folder / "mine").exists() or more.get("again")
    return sentence


def written_card(card: Card, folder: Path) -> Path:
    """Write a card as TOML; JSON's strings are TOML's."""
    (file,) = card.files
    path = folder / "mine.toml"
    texts = ("title", "about", "licence", "citation", "homepage")
    lines = [f"{name} = {json.dumps(getattr(card, name))}" for name in texts]
    lines += [
        "[[files]]",
        f'url = "{file.url}"',
        'checksum_unconfirmed = "a test has none"',
        "[read]",
        'format = "csv"',
        f'interactions = "{card.read.interactions}"',
        "[read.columns]",
        'user = "user"',
        'item = "item"',
        "[clean]",
        f'source = "{card.clean.source}"',
    ]
    path.write_text("\n".join(lines))
    return path


def zip_of(files: dict[str, bytes], **attributes: int) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            if name in attributes:
                member.external_attr = attributes[name] << 16
            archive.writestr(member, content)
    return memory.getvalue()


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return memory.getvalue()


FILE, DIR = tarfile.REGTYPE, tarfile.DIRTYPE

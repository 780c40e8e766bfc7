"""Fetching: whole or not at all, resumed where it was cut, whatever server and archive do."""

import errno
import gzip
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest import archives, transfer
from recsys_vae.ingest.archives import is_archive, unpack
from recsys_vae.ingest.cards import Card, find_card
from recsys_vae.ingest.download import MANIFEST, fetch, fetched
from recsys_vae.ingest.transfer import Patience
from tests.ingest.faulty_server import Answer, FaultyServer, faulty_server

# Not a multiple of the block size, and several blocks long.
_ROWS = b"user,item\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
# A silent server is left after half a second; the pauses only have to be pauses.
_QUICK = Patience(connect=5.0, read=0.5, tries=4, pause=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with faulty_server() as running:
        running.files["/rows.csv"] = _ROWS
        yield running


def _card(server: FaultyServer, *names: str, reads: str | None = None, **file: Any) -> Card:
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


def _md5(content: bytes) -> dict[str, str]:
    digits = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"checksum": f"md5:{digits}", "checksum_source": "this very test"}


def _fetch(card: Card, folder: Path, **more: Any) -> Path:
    return fetch(card, folder, progress=False, patience=_QUICK, **more)


def _left(folder: Path) -> list[str]:
    """What lies in a folder of data sets but the lock, which is empty and stays."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def _refused(card: Card, folder: Path, words: str, **more: Any) -> str:
    with pytest.raises(InputError, match=words) as refused:
        _fetch(card, folder, **more)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert ": " in sentence
    assert not (folder / "mine").exists() or more.get("again")
    return sentence


def test_a_file_is_fetched_whole_and_only_its_folder_is_left(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = _card(server, "rows.csv", bytes=len(_ROWS), **_md5(_ROWS))
    target = _fetch(card, tmp_path / "down")
    assert target == tmp_path / "down" / "mine"
    assert (target / "rows.csv").read_bytes() == _ROWS
    assert _left(tmp_path / "down") == ["mine"]
    (record,) = json.loads((target / MANIFEST).read_text())["files"]
    assert record["sha256"] == hashlib.sha256(_ROWS).hexdigest()
    assert server.seen == [None]


def test_what_is_there_is_not_fetched_again_unless_asked(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = _card(server, "rows.csv")
    for _ in range(2):
        target = _fetch(card, tmp_path)
    assert server.seen == [None]
    server.files["/rows.csv"] = b"user,item\n1,2\n"
    _fetch(card, tmp_path, again=True)
    assert (target / "rows.csv").read_bytes() == b"user,item\n1,2\n"
    assert _left(tmp_path) == ["mine"]


@settings(
    max_examples=15,  # each is a server and two connections
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a folder for each cut
)
@given(cut=st.integers(1, len(_ROWS) - 1))
def test_a_cut_transfer_goes_on_where_it_was(cut: int, tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files["/rows.csv"] = _ROWS
        server.plan.append(Answer(cut=cut))
        target = _fetch(_card(server, "rows.csv", **_md5(_ROWS)), tmp_path / f"{cut}", again=True)
        assert (target / "rows.csv").read_bytes() == _ROWS
        # Every byte before the cut was kept: the connection was closed, not reset.
        assert server.seen == [None, f"bytes={cut}-"]


def test_the_next_run_goes_on_where_the_last_gave_up(server: FaultyServer, tmp_path: Path) -> None:
    card = _card(server, "rows.csv")
    server.plan.extend([Answer(cut=1_000)] * _QUICK.tries)
    sentence = _refused(card, tmp_path, "4 tries.*4,000 bytes")
    assert "mine.rows.csv.part" in sentence
    assert (tmp_path / "mine.rows.csv.part").read_bytes() == _ROWS[:4_000]
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert server.seen[-1] == "bytes=4000-"


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": False},
        {"tag": None},
        {"tag": 'W/"weak"'},
        {"length": False},
    ],
    ids=str,
)
def test_a_server_that_cannot_go_on_is_asked_for_the_whole(
    server: FaultyServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    server.plan.append(Answer(cut=70_000))
    card = _card(server, "rows.csv", bytes=len(_ROWS), **_md5(_ROWS))
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert len(server.seen) == 2


def test_last_modified_serves_where_there_is_no_tag(server: FaultyServer, tmp_path: Path) -> None:
    server.tag, server.date = None, "Wed, 01 Jan 2020 00:00:00 GMT"
    server.plan.append(Answer(cut=70_000))
    assert (_fetch(_card(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert server.seen == [None, "bytes=70000-"]


@pytest.mark.parametrize("length", [50, len(_ROWS), 2 * len(_ROWS)])
def test_a_file_that_changes_between_the_parts_is_fetched_from_the_start(
    server: FaultyServer, tmp_path: Path, length: int
) -> None:
    other = (b"x" * length)[:length]

    def change(server: FaultyServer) -> None:
        server.files["/rows.csv"], server.tag = other, '"two"'

    server.plan.extend([Answer(cut=70_000), Answer(first=change)])
    assert (_fetch(_card(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == other


def test_a_server_that_goes_on_with_another_file_is_not_believed(
    server: FaultyServer, tmp_path: Path
) -> None:
    def change(server: FaultyServer) -> None:
        server.files["/rows.csv"], server.tag = b"y" * len(_ROWS), '"two"'

    # The second answer ignores If-Range: the rest of another file, under its own tag.
    server.plan.extend([Answer(cut=70_000), Answer(first=change)])
    server.date = '"one"'  # makes If-Range match all the same
    target = _fetch(_card(server, "rows.csv"), tmp_path)
    assert (target / "rows.csv").read_bytes() == b"y" * len(_ROWS)


def test_a_part_of_another_address_is_not_continued(server: FaultyServer, tmp_path: Path) -> None:
    server.files["/new/rows.csv"] = b"z" * 100_000
    server.plan.extend([Answer(cut=1_000)] * _QUICK.tries)
    _refused(_card(server, "rows.csv"), tmp_path, "tries")
    target = _fetch(_card(server, "new/rows.csv", reads="rows.csv"), tmp_path)
    assert (target / "rows.csv").read_bytes() == b"z" * 100_000
    assert server.seen[-1] is None


@pytest.mark.parametrize("beside", ["", "{", "[1]", '{"url": 1}', '{"a": 1}', "null"])
def test_damaged_notes_on_a_part_cost_only_the_part(
    server: FaultyServer, tmp_path: Path, beside: str
) -> None:
    (tmp_path / "mine.rows.csv.part").write_bytes(b"junk")
    (tmp_path / "mine.rows.csv.part.json").write_text(beside)
    assert (_fetch(_card(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert server.seen == [None]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.plan.extend([Answer(cut=1_000)] * _QUICK.tries)
    _refused(_card(server, "rows.csv"), tmp_path, "tries")
    (tmp_path / "mine.rows.csv.part").write_bytes(b"x" * (len(_ROWS) + 1))
    assert (_fetch(_card(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == _ROWS


def test_a_wrong_checksum_is_refused_and_the_file_removed(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = _card(server, "rows.csv", **_md5(b"something else"))
    _refused(card, tmp_path, r"rows\.csv came with md5 .* thrown away")
    assert _left(tmp_path) == []


@pytest.mark.parametrize("size", [len(_ROWS) - 1, len(_ROWS) + 1])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_of_another_size_is_refused(
    server: FaultyServer, tmp_path: Path, size: int, length: bool
) -> None:
    server.length = length
    _refused(_card(server, "rows.csv", bytes=size), tmp_path, "rows.csv")


def test_a_file_without_bounds_is_not_fetched(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 1_000)
    _refused(_card(server, "rows.csv"), tmp_path, "above 1,000")
    server.length = False
    _refused(_card(server, "rows.csv"), tmp_path, "longer than 1,000")
    assert _left(tmp_path) == []


def test_what_is_not_there_is_refused_at_once(server: FaultyServer, tmp_path: Path) -> None:
    _refused(_card(server, "no.csv"), tmp_path, r"no\.csv was refused \(404 Not Found\).*homepage")
    assert server.seen == [None]
    assert _left(tmp_path) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(
    server: FaultyServer, tmp_path: Path, status: int
) -> None:
    server.plan.extend([Answer(status=status)] * 2)
    assert (_fetch(_card(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert len(server.seen) == 3


def test_a_lasting_failure_ends_after_the_tries(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.extend([Answer(status=500)] * 10)
    _refused(_card(server, "rows.csv"), tmp_path, "4 tries.*500")
    assert len(server.seen) == _QUICK.tries


def test_a_silent_server_is_left(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.extend([Answer(hang=1.0)] * _QUICK.tries)  # twice the patience
    started = time.monotonic()
    _refused(_card(server, "rows.csv"), tmp_path, "no answer in time")
    # 4 tries of 0.5 s; a machine under load may take some times as long, never the hang of 60 s.
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("server")
def test_nobody_listening_is_told_in_a_sentence(tmp_path: Path) -> None:
    with faulty_server() as gone:
        card = _card(gone, "rows.csv")
    assert "connection refused" in _refused(card, tmp_path, "4 tries")


@pytest.mark.parametrize("where", ["ftp://127.0.0.1/rows.csv", "file:///etc/passwd"])
def test_only_the_web_is_followed(server: FaultyServer, tmp_path: Path, where: str) -> None:
    server.plan.append(Answer(status=302, headers=(("Location", where),)))
    _refused(_card(server, "rows.csv"), tmp_path, "leads nowhere")


def test_a_redirect_is_followed(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.append(Answer(status=302, headers=(("Location", "/rows.csv"),)))
    card = _card(server, "old/rows.csv", reads="rows.csv")
    server.files["/old/rows.csv"] = b""
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS


def test_bytes_packed_for_the_way_are_kept_as_they_are_or_refused(
    server: FaultyServer, tmp_path: Path
) -> None:
    packed = gzip.compress(_ROWS)
    server.files |= {"/rows.csv.gz": packed, "/rows.csv": packed}
    said = Answer(headers=(("Content-Encoding", "gzip"),))
    server.plan.extend([said, said])
    target = _fetch(_card(server, "rows.csv.gz"), tmp_path / "one")
    assert (target / "rows.csv.gz").read_bytes() == packed
    _refused(_card(server, "rows.csv"), tmp_path / "other", "packed as gzip")


class _FullDisk:
    """A file that takes so many bytes, and then the disk is full."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, block: bytes) -> int:
        if len(block) > self._room:
            self._file.write(block[: self._room])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._room -= len(block)
        return int(self._file.write(block))

    def __enter__(self) -> "_FullDisk":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()


def _fill(patch: pytest.MonkeyPatch, name: str, mode: str, room: int) -> None:
    real: Callable[..., Any] = Path.open

    how = mode

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = real(path, mode, *rest, **more)
        return _FullDisk(file, room) if path.name == name and mode == how else file

    patch.setattr(Path, "open", opened)


def test_a_full_disk_costs_nothing_that_was_fetched(server: FaultyServer, tmp_path: Path) -> None:
    card = _card(server, "rows.csv")
    with pytest.MonkeyPatch.context() as patch:
        _fill(patch, "mine.rows.csv.part", "ab", 100_000)
        _refused(card, tmp_path, r"part cannot be completed \(no space left.*free some space")
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert server.seen == [None, "bytes=100000-"]


def test_a_file_larger_than_the_disk_is_refused_before_it_is_fetched(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    _refused(_card(server, "rows.csv"), tmp_path, "1,000 are free")
    assert (tmp_path / "mine.rows.csv.part").read_bytes() == b""


def test_a_disk_that_fills_while_unpacking_leaves_the_archive(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.files["/all.zip"] = _zip({"rows.csv": _ROWS})
    card = _card(server, "all.zip", reads="rows.csv")
    with pytest.MonkeyPatch.context() as patch:
        _fill(patch, "rows.csv", "xb", 1_000)
        _refused(card, tmp_path, "mine cannot be written.*nothing is fetched twice")
    assert _left(tmp_path) == ["mine.all.zip.part", "mine.all.zip.part.json"]
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS
    assert server.seen == [None]


_KILLED = """
import sys
from pathlib import Path
from recsys_vae.ingest.cards import read_card
from recsys_vae.ingest.download import fetch
fetch(read_card(Path(sys.argv[1])), Path(sys.argv[2]), progress=False)
"""


def _written(card: Card, folder: Path) -> Path:
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


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen in a minute"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_fetch_that_was_killed_is_completed_by_the_next(
    server: FaultyServer, tmp_path: Path, how: signal.Signals
) -> None:
    path = _written(_card(server, "rows.csv"), tmp_path)
    # A first connection that is cut, and a second one that never answers: killed in between.
    server.plan.extend([Answer(cut=70_000), Answer(hang=5.0)])
    command = [sys.executable, "-c", _KILLED, str(path), str(tmp_path / "down")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: len(server.seen) == 2)
        process.send_signal(how)
        assert process.wait(60) == -how
    assert _left(tmp_path / "down") == ["mine.rows.csv.part", "mine.rows.csv.part.json"]
    target = _fetch(_card(server, "rows.csv"), tmp_path / "down")
    assert (target / "rows.csv").read_bytes() == _ROWS
    assert server.seen == [None, "bytes=70000-", "bytes=70000-"]
    assert _left(tmp_path / "down") == ["mine"]


def test_a_second_fetch_at_the_same_time_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    path = _written(_card(server, "rows.csv"), tmp_path)
    go = tmp_path / "go"

    def hold(_server: FaultyServer) -> None:
        _wait_for(go.exists)

    server.plan.append(Answer(first=hold))
    command = [sys.executable, "-c", _KILLED, str(path), str(tmp_path / "down")]
    with subprocess.Popen(command) as process:
        _wait_for(lambda: len(server.seen) == 1)
        _refused(_card(server, "rows.csv"), tmp_path / "down", "another process.*wait")
        go.touch()
        assert process.wait(60) == 0
    assert (tmp_path / "down/mine/rows.csv").read_bytes() == _ROWS
    assert server.seen == [None]


def test_a_folder_of_other_things_is_not_replaced(server: FaultyServer, tmp_path: Path) -> None:
    card = _card(server, "rows.csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for again in (False, True):
        with pytest.raises(InputError, match=r"mine is not a data set that was fetched.*move"):
            _fetch(card, tmp_path, again=again)
    (tmp_path / "mine" / "thesis.tex").rename(tmp_path / "thesis.tex")
    (tmp_path / "mine").rmdir()
    _fetch(card, tmp_path)
    (tmp_path / "thesis.tex").rename(tmp_path / "mine" / "thesis.tex")
    _refused(card, tmp_path, r"thesis\.tex", again=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_an_archive_without_the_file_that_is_read_is_refused(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.files["/all.zip"] = _zip({"other.csv": _ROWS})
    _refused(_card(server, "all.zip", reads="rows.csv"), tmp_path, r"without rows\.csv")


def test_several_files_come_into_one_folder(server: FaultyServer, tmp_path: Path) -> None:
    server.files["/more.csv"] = b"1"
    target = _fetch(_card(server, "rows.csv", "more.csv"), tmp_path)
    assert sorted(path.name for path in target.iterdir()) == [MANIFEST, "more.csv", "rows.csv"]


def test_what_must_be_got_by_hand_says_where_it_goes(tmp_path: Path) -> None:
    card = find_card("netflix-prize")
    with pytest.raises(InputError, match=r"netflix-prize.*training_set.*movie_titles.*own"):
        fetch(card, tmp_path)
    (tmp_path / "netflix-prize" / "training_set").mkdir(parents=True)
    assert fetched(card, tmp_path) is None
    (tmp_path / "netflix-prize" / "movie_titles.txt").write_text("1,2003,Rex\n")
    assert fetch(card, tmp_path) == tmp_path / "netflix-prize"


# Archives


def _zip(files: dict[str, bytes], **attributes: int) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            if name in attributes:
                member.external_attr = attributes[name] << 16
            archive.writestr(member, content)
    return memory.getvalue()


def _tar(*members: tuple[str, bytes, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return memory.getvalue()


_FILE, _DIR = tarfile.REGTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_good_archive_is_unpacked_whole(tmp_path: Path, kind: str) -> None:
    files = {"ml/ratings.csv": _ROWS, "ml/deep/er/x.txt": b"", "READ ME": b"caf\xc3\xa9"}
    path = tmp_path / f"all.{kind}"
    tar = [("ml", _DIR, b""), *((f"./{name}", _FILE, content) for name, content in files.items())]
    path.write_bytes(_zip({"ml/": b""} | files) if kind == "zip" else _tar(*tar))
    (tmp_path / "out").mkdir()
    unpack(path, tmp_path / "out")
    found = [one for one in (tmp_path / "out").rglob("*") if one.is_file()]
    assert {one.relative_to(tmp_path / "out").as_posix(): one.read_bytes() for one in found} == (
        files
    )
    assert not any(one.stat().st_mode & (stat.S_ISUID | stat.S_IXUSR) for one in found)


_ODD_NAMES = [
    "../evil", "a/../../evil", "/evil", "a//b", "..", "", "C:\\evil", "a\\..\\b", "a:b", "a\nb",
    "a\x1b[2Jb", "x" * 300, "/".join(["x" * 150] * 10),
]  # fmt: skip
_HOSTILE = {
    **{f"zip named {name[:20]!r}": ("zip", _zip({name: b"x"})) for name in _ODD_NAMES if name},
    **{f"tar named {name[:20]!r}": ("tar.gz", _tar((name, _FILE, b"x"))) for name in _ODD_NAMES},
    "zip with a link": ("zip", _zip({"a": b"/etc/passwd"}, a=stat.S_IFLNK | 0o777)),
    "zip with a device": ("zip", _zip({"a": b""}, a=stat.S_IFCHR | 0o666)),
    "zip with a pipe": ("zip", _zip({"a": b""}, a=stat.S_IFIFO | 0o666)),
    "zip with case twins": ("zip", _zip({"a/b": b"x", "A": b"y"})),
    "zip with a file as a folder": ("zip", _zip({"a": b"x", "a/b": b"y"})),
    "zip bomb": ("zip", _zip({"a": b"\0" * (18 * 2**20)})),
    "tar with a link": ("tar.gz", _tar(("a", tarfile.SYMTYPE, b""))),
    "tar with a hard link": ("tar.gz", _tar(("a", tarfile.LNKTYPE, b""))),
    "tar with a device": ("tar.gz", _tar(("a", tarfile.CHRTYPE, b""))),
    "tar with a pipe": ("tar.gz", _tar(("a", tarfile.FIFOTYPE, b""))),
    "tar with twins": ("tar.gz", _tar(("a", _FILE, b"x"), ("a", _FILE, b"y"))),
    "tar with a folder over a file": ("tar.gz", _tar(("a", _FILE, b"x"), ("a", _DIR, b""))),
    "tar bomb": ("tar.gz", _tar(("a", _FILE, b"\0" * (40 * 2**20)))),
    "tar with a bomb of a header": ("tar.gz", _tar(("a", tarfile.XHDTYPE, b"0" * (40 * 2**20)))),
}


@pytest.mark.parametrize("case", _HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(
    server: FaultyServer, tmp_path: Path, case: str
) -> None:
    kind, content = _HOSTILE[case]
    server.files[f"/all.{kind}"] = content
    sentence = _refused(_card(server, f"all.{kind}", reads="a"), tmp_path / "down", f"all.{kind}")
    assert sentence.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["down"]
    assert all(path.name.startswith("mine.all.") for path in (tmp_path / "down").glob("[!.]*"))
    assert _left(tmp_path / "down")[:1] != ["mine"]


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_zip_that_holds_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a", "x")
        archive.writestr("a", "y")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="'a' twice"):
        unpack(tmp_path / "all.zip", tmp_path / "out")


def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 3)
    (tmp_path / "all.zip").write_bytes(_zip({str(number): b"" for number in range(4)}))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="more than 3 members"):
        unpack(tmp_path / "all.zip", tmp_path / "out")


def test_a_zip_that_lies_about_its_sizes_is_stopped(tmp_path: Path) -> None:
    content = bytearray(_zip({"a": b"\0" * (40 * 2**20)}))
    size = (40 * 2**20).to_bytes(4, "little")
    while size in content:  # in the local header and in the directory
        place = content.index(size)
        content[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "all.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"all\.zip"):
        unpack(tmp_path / "all.zip", tmp_path / "out")
    # Far less than the 40 MiB that are in it: zipfile stops at the size that is told.
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) <= 2**20


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_cut_archive_is_refused_and_fetched_anew_the_next_time(
    server: FaultyServer, tmp_path: Path, kind: str, share: float
) -> None:
    whole = _zip({"rows.csv": _ROWS}) if kind == "zip" else _tar(("rows.csv", _FILE, _ROWS))
    server.files[f"/all.{kind}"] = whole[: int(share * len(whole))]
    card = _card(server, f"all.{kind}", reads="rows.csv")
    _refused(card, tmp_path, f"all.{kind} is cut or damaged.*fetch it again")
    assert _left(tmp_path) == []
    server.files[f"/all.{kind}"], server.tag = whole, '"two"'
    assert (_fetch(card, tmp_path) / "rows.csv").read_bytes() == _ROWS


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a folder for each example
)
@given(data=st.data())
def test_a_damaged_archive_never_ends_in_another_error(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(_zip({"a": _ROWS[:999]}) if kind == "zip" else _tar(("a", _FILE, _ROWS)))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    (tmp_path / f"all.{kind}").write_bytes(content)
    out = tmp_path / f"{kind}-{place}-{content[place]}"
    out.mkdir(exist_ok=True)
    for old in sorted(out.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    try:
        unpack(tmp_path / f"all.{kind}", out)
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017 # both outcomes are right


def test_only_archives_are_unpacked() -> None:
    assert is_archive(Path("mine.a.TGZ"))
    assert not is_archive(Path("a.csv.gz"))


# The command line


def test_the_command_line_fetches_and_says_what_it_did(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(_card(server, "rows.csv"), tmp_path)
    command = ["datasets", "fetch", str(path), "--to", str(tmp_path / "down")]
    main(command)
    shown = capsys.readouterr().out
    assert f"rows.csv: {len(_ROWS):,} bytes, not verified" in shown
    assert hashlib.sha256(_ROWS).hexdigest() in shown
    assert f"written: {tmp_path / 'down/mine'}" in shown
    assert "licence: Do what you like." in shown
    main(command)
    assert capsys.readouterr().out == f"already there: {tmp_path / 'down/mine'}\n"
    main([*command, "--again"])
    assert "written" in capsys.readouterr().out
    assert server.seen == [None, None]


def test_the_command_line_refuses_with_exit_code_2(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _written(_card(server, "no.csv"), tmp_path)
    for arguments in (["fetch", str(path)], ["fetch", "no-such"], ["show", "no-such"], ["fetsh"]):
        to = ["--to", str(tmp_path / "down")] if arguments[0] == "fetch" else []
        with pytest.raises(SystemExit) as stopped:
            main(["datasets", *arguments, *to])
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("recsys-vae: ")
        assert len(shown.err.splitlines()) == 1

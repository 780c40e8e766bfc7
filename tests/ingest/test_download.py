"""Fetching a data set: whole or not at all, killed, twice at once, on a full disk, by hand."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys_vae.cli import main
from recsys_vae.errors import InputError
from recsys_vae.ingest.cards import find_card
from recsys_vae.ingest.download import MANIFEST, fetch, fetched
from tests.ingest.faulty_server import Answer, FaultyServer
from tests.ingest.made_up import (
    ROWS,
    card_of,
    got,
    left_in,
    md5_of,
    refusal,
    written_card,
    zip_of,
)


def test_a_file_is_fetched_whole_and_only_its_folder_is_left(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = card_of(server, "rows.csv", bytes=len(ROWS), **md5_of(ROWS))
    target = got(card, tmp_path / "down")
    assert target == tmp_path / "down" / "mine"
    assert (target / "rows.csv").read_bytes() == ROWS
    assert left_in(tmp_path / "down") == ["mine"]
    (record,) = json.loads((target / MANIFEST).read_text())["files"]
    assert record["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert server.seen == [None]


def test_what_is_there_is_not_fetched_again_unless_asked(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = card_of(server, "rows.csv")
    for _ in range(2):
        target = got(card, tmp_path)
    assert server.seen == [None]
    server.files["/rows.csv"] = b"user,item\n1,2\n"
    got(card, tmp_path, again=True)
    assert (target / "rows.csv").read_bytes() == b"user,item\n1,2\n"
    assert left_in(tmp_path) == ["mine"]


def test_a_wrong_checksum_is_refused_and_the_file_removed(
    server: FaultyServer, tmp_path: Path
) -> None:
    card = card_of(server, "rows.csv", **md5_of(b"something else"))
    refusal(card, tmp_path, r"rows\.csv came with md5 .* thrown away")
    assert left_in(tmp_path) == []


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
    card = card_of(server, "rows.csv")
    with pytest.MonkeyPatch.context() as patch:
        _fill(patch, "mine.rows.csv.part", "ab", 100_000)
        refusal(card, tmp_path, r"part cannot be completed \(no space left.*free some space")
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None, "bytes=100000-"]


def test_a_file_larger_than_the_disk_is_refused_before_it_is_fetched(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    refusal(card_of(server, "rows.csv"), tmp_path, "1,000 are free")
    assert (tmp_path / "mine.rows.csv.part").read_bytes() == b""


def test_a_disk_that_fills_while_unpacking_leaves_the_archive(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.files["/all.zip"] = zip_of({"rows.csv": ROWS})
    card = card_of(server, "all.zip", reads="rows.csv")
    with pytest.MonkeyPatch.context() as patch:
        _fill(patch, "rows.csv", "xb", 1_000)
        refusal(card, tmp_path, "mine cannot be written.*nothing is fetched twice")
    assert left_in(tmp_path) == ["mine.all.zip.part", "mine.all.zip.part.json"]
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None]


_KILLED = """
import signal
import sys
from pathlib import Path
# A shell that runs the tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from recsys_vae.ingest.cards import read_card
from recsys_vae.ingest.download import fetch
fetch(read_card(Path(sys.argv[1])), Path(sys.argv[2]), progress=False)
"""


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen in a minute"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_fetch_that_was_killed_is_completed_by_the_next(
    server: FaultyServer, tmp_path: Path, how: signal.Signals
) -> None:
    path = written_card(card_of(server, "rows.csv"), tmp_path)
    # A first connection that is cut, and a second one that never answers: killed in between.
    server.plan.extend([Answer(cut=70_000), Answer(hang=5.0)])
    command = [sys.executable, "-c", _KILLED, str(path), str(tmp_path / "down")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        _wait_for(lambda: len(server.seen) == 2)
        process.send_signal(how)
        assert process.wait(60) == -how
    assert left_in(tmp_path / "down") == ["mine.rows.csv.part", "mine.rows.csv.part.json"]
    target = got(card_of(server, "rows.csv"), tmp_path / "down")
    assert (target / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None, "bytes=70000-", "bytes=70000-"]
    assert left_in(tmp_path / "down") == ["mine"]


def test_a_second_fetch_at_the_same_time_is_refused(server: FaultyServer, tmp_path: Path) -> None:
    path = written_card(card_of(server, "rows.csv"), tmp_path)
    go = tmp_path / "go"

    def hold(_server: FaultyServer) -> None:
        _wait_for(go.exists)

    server.plan.append(Answer(first=hold))
    command = [sys.executable, "-c", _KILLED, str(path), str(tmp_path / "down")]
    with subprocess.Popen(command) as process:
        _wait_for(lambda: len(server.seen) == 1)
        refusal(card_of(server, "rows.csv"), tmp_path / "down", "another process.*wait")
        go.touch()
        assert process.wait(60) == 0
    assert (tmp_path / "down/mine/rows.csv").read_bytes() == ROWS
    assert server.seen == [None]


def test_a_folder_of_other_things_is_not_replaced(server: FaultyServer, tmp_path: Path) -> None:
    card = card_of(server, "rows.csv")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for again in (False, True):
        with pytest.raises(InputError, match=r"mine is not a data set that was fetched.*move"):
            got(card, tmp_path, again=again)
    (tmp_path / "mine" / "thesis.tex").rename(tmp_path / "thesis.tex")
    (tmp_path / "mine").rmdir()
    got(card, tmp_path)
    (tmp_path / "thesis.tex").rename(tmp_path / "mine" / "thesis.tex")
    refusal(card, tmp_path, r"thesis\.tex", again=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_an_archive_without_the_file_that_is_read_is_refused(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.files["/all.zip"] = zip_of({"other.csv": ROWS})
    refusal(card_of(server, "all.zip", reads="rows.csv"), tmp_path, r"without rows\.csv")


def test_several_files_come_into_one_folder(server: FaultyServer, tmp_path: Path) -> None:
    server.files["/more.csv"] = b"1"
    target = got(card_of(server, "rows.csv", "more.csv"), tmp_path)
    assert sorted(path.name for path in target.iterdir()) == [MANIFEST, "more.csv", "rows.csv"]


def test_what_must_be_got_by_hand_says_where_it_goes(tmp_path: Path) -> None:
    card = find_card("netflix-prize")
    with pytest.raises(InputError, match=r"netflix-prize.*training_set.*movie_titles.*own"):
        fetch(card, tmp_path)
    (tmp_path / "netflix-prize" / "training_set").mkdir(parents=True)
    assert fetched(card, tmp_path) is None
    (tmp_path / "netflix-prize" / "movie_titles.txt").write_text("1,2003,Rex\n")
    assert fetch(card, tmp_path) == tmp_path / "netflix-prize"


# The command line


def test_the_command_line_fetches_and_says_what_it_did(
    server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written_card(card_of(server, "rows.csv"), tmp_path)
    command = ["datasets", "fetch", str(path), "--to", str(tmp_path / "down")]
    main(command)
    shown = capsys.readouterr().out
    assert f"rows.csv: {len(ROWS):,} bytes, not verified" in shown
    assert hashlib.sha256(ROWS).hexdigest() in shown
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
    path = written_card(card_of(server, "no.csv"), tmp_path)
    for arguments in (["fetch", str(path)], ["fetch", "no-such"], ["show", "no-such"], ["fetsh"]):
        to = ["--to", str(tmp_path / "down")] if arguments[0] == "fetch" else []
        with pytest.raises(SystemExit) as stopped:
            main(["datasets", *arguments, *to])
        assert stopped.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("recsys-vae: ")
        assert len(shown.err.splitlines()) == 1

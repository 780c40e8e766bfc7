"""Transfers: resumed where they were cut, whatever the server does."""

import gzip
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_vae.ingest import transfer
from tests.ingest.faulty_server import Answer, FaultyServer, faulty_server
from tests.ingest.made_up import QUICK, ROWS, card_of, got, left_in, md5_of, refusal


@settings(
    max_examples=15,  # each is a server and two connections
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a folder for each cut
)
@given(cut=st.integers(1, len(ROWS) - 1))
def test_a_cut_transfer_goes_on_where_it_was(cut: int, tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files["/rows.csv"] = ROWS
        server.plan.append(Answer(cut=cut))
        target = got(card_of(server, "rows.csv", **md5_of(ROWS)), tmp_path / f"{cut}", again=True)
        assert (target / "rows.csv").read_bytes() == ROWS
        # Every byte before the cut was kept: the connection was closed, not reset.
        assert server.seen == [None, f"bytes={cut}-"]
        assert server.conditions == [None, '"one"']
        assert server.encodings == ["identity", "identity"]


def test_the_next_run_goes_on_where_the_last_gave_up(server: FaultyServer, tmp_path: Path) -> None:
    card = card_of(server, "rows.csv")
    server.plan.extend([Answer(cut=1_000)] * QUICK.tries)
    sentence = refusal(card, tmp_path, "4 tries.*4,000 bytes")
    assert "mine.rows.csv.part" in sentence
    assert (tmp_path / "mine.rows.csv.part").read_bytes() == ROWS[:4_000]
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen[-1] == "bytes=4000-"


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({"ranges": False}, "bytes=70000-"),  # and the whole comes all the same
        ({"tag": None}, None),
        ({"tag": 'W/"weak"'}, None),
        ({"length": False}, "bytes=70000-"),  # the size is the card's
    ],
    ids=str,
)
def test_only_what_can_be_recognised_is_continued(
    server: FaultyServer, tmp_path: Path, change: dict[str, Any], asked: str | None
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    server.plan.append(Answer(cut=70_000))
    card = card_of(server, "rows.csv", bytes=len(ROWS), **md5_of(ROWS))
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None, asked]


def test_last_modified_serves_where_there_is_no_tag(server: FaultyServer, tmp_path: Path) -> None:
    server.tag, server.date = None, "Wed, 01 Jan 2020 00:00:00 GMT"
    server.plan.append(Answer(cut=70_000))
    assert (got(card_of(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None, "bytes=70000-"]


@pytest.mark.parametrize("length", [50, len(ROWS), 2 * len(ROWS)])
def test_a_file_that_changes_between_the_parts_is_fetched_from_the_start(
    server: FaultyServer, tmp_path: Path, length: int
) -> None:
    other = (b"x" * length)[:length]

    def change(server: FaultyServer) -> None:
        server.files["/rows.csv"], server.tag = other, '"two"'

    server.plan.extend([Answer(cut=70_000), Answer(first=change)])
    assert (got(card_of(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == other


def test_a_server_that_goes_on_with_another_file_is_not_believed(
    server: FaultyServer, tmp_path: Path
) -> None:
    def change(server: FaultyServer) -> None:
        server.files["/rows.csv"], server.tag = b"y" * len(ROWS), '"two"'

    # The second answer ignores If-Range: the rest of another file, under its own tag.
    server.plan.extend([Answer(cut=70_000), Answer(first=change)])
    server.date = '"one"'  # makes If-Range match all the same
    target = got(card_of(server, "rows.csv"), tmp_path)
    assert (target / "rows.csv").read_bytes() == b"y" * len(ROWS)


def test_a_part_of_another_address_is_not_continued(server: FaultyServer, tmp_path: Path) -> None:
    server.files["/new/rows.csv"] = b"z" * len(ROWS)
    server.plan.extend([Answer(cut=1_000)] * QUICK.tries)
    refusal(card_of(server, "rows.csv"), tmp_path, "tries")
    target = got(card_of(server, "new/rows.csv", reads="rows.csv"), tmp_path)
    assert (target / "rows.csv").read_bytes() == b"z" * len(ROWS)
    assert server.seen == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-", None]


@pytest.mark.parametrize("beside", ["", "{", "[1]", '{"url": 1}', '{"a": 1}', "null"])
def test_damaged_notes_on_a_part_cost_only_the_part(
    server: FaultyServer, tmp_path: Path, beside: str
) -> None:
    (tmp_path / "mine.rows.csv.part").write_bytes(b"junk")
    (tmp_path / "mine.rows.csv.part.json").write_text(beside)
    assert (got(card_of(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == ROWS
    assert server.seen == [None]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(
    server: FaultyServer, tmp_path: Path
) -> None:
    server.plan.extend([Answer(cut=1_000)] * QUICK.tries)
    refusal(card_of(server, "rows.csv"), tmp_path, "tries")
    (tmp_path / "mine.rows.csv.part").write_bytes(b"x" * (len(ROWS) + 1))
    assert (got(card_of(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == ROWS


@pytest.mark.parametrize("size", [len(ROWS) - 1, len(ROWS) + 1])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_of_another_size_is_refused(
    server: FaultyServer, tmp_path: Path, size: int, length: bool
) -> None:
    server.length = length
    refusal(card_of(server, "rows.csv", bytes=size), tmp_path, "rows.csv")


def test_a_file_without_bounds_is_not_fetched(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 1_000)
    refusal(card_of(server, "rows.csv"), tmp_path, "above 1,000")
    server.length = False
    refusal(card_of(server, "rows.csv"), tmp_path, "longer than 1,000")
    assert left_in(tmp_path) == []


def test_what_is_not_there_is_refused_at_once(server: FaultyServer, tmp_path: Path) -> None:
    refusal(card_of(server, "no.csv"), tmp_path, r"no\.csv was refused \(404 Not Found\).*homepage")
    assert server.seen == [None]
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(
    server: FaultyServer, tmp_path: Path, status: int
) -> None:
    server.plan.extend([Answer(status=status)] * 2)
    assert (got(card_of(server, "rows.csv"), tmp_path) / "rows.csv").read_bytes() == ROWS
    assert len(server.seen) == 3


def test_a_lasting_failure_ends_after_the_tries(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.extend([Answer(status=500)] * 10)
    refusal(card_of(server, "rows.csv"), tmp_path, "4 tries.*500")
    assert len(server.seen) == QUICK.tries


def test_a_silent_server_is_left(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.extend([Answer(hang=1.0)] * QUICK.tries)  # twice the patience
    started = time.monotonic()
    refusal(card_of(server, "rows.csv"), tmp_path, "no answer in time")
    # 4 tries of 0.5 s; a machine under load may take some times as long, never the hang of 60 s.
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("server")
def test_nobody_listening_is_told_in_a_sentence(tmp_path: Path) -> None:
    with faulty_server() as gone:
        card = card_of(gone, "rows.csv")
    assert "connection refused" in refusal(card, tmp_path, "4 tries")


@pytest.mark.parametrize("where", ["ftp://127.0.0.1/rows.csv", "file:///etc/passwd"])
def test_only_the_web_is_followed(server: FaultyServer, tmp_path: Path, where: str) -> None:
    server.plan.append(Answer(status=302, headers=(("Location", where),)))
    refusal(card_of(server, "rows.csv"), tmp_path, "leads nowhere")


def test_a_redirect_is_followed(server: FaultyServer, tmp_path: Path) -> None:
    server.plan.append(Answer(status=302, headers=(("Location", "/rows.csv"),)))
    card = card_of(server, "old/rows.csv", reads="rows.csv")
    server.files["/old/rows.csv"] = b""
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS


def test_bytes_packed_for_the_way_are_kept_as_they_are_or_refused(
    server: FaultyServer, tmp_path: Path
) -> None:
    packed = gzip.compress(ROWS)
    server.files |= {"/rows.csv.gz": packed, "/rows.csv": packed}
    said = Answer(headers=(("Content-Encoding", "gzip"),))
    server.plan.extend([said, said])
    target = got(card_of(server, "rows.csv.gz"), tmp_path / "one")
    assert (target / "rows.csv.gz").read_bytes() == packed
    refusal(card_of(server, "rows.csv"), tmp_path / "other", "packed as gzip")

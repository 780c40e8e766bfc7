"""Files and folders: nobody else's are touched, and the killed leave nothing for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_file, atomic_folder

OURS = ("ours.txt", "part-*")


def write_ours(folder: Path) -> None:
    with atomic_folder(folder, OURS) as temporary:
        (temporary / "ours.txt").write_text("new")


def a_pid_that_is_dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("beside", [[], ["ours.txt"], ["ours.txt", "part-7"]])
def test_a_folder_with_anything_foreign_is_left_alone(beside: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in [*beside, "thesis.txt"]:
        (out / name).write_text("theirs")
    with pytest.raises(InputError, match=r"out holds 'thesis.txt'.*choose another --out"):
        write_ours(out)
    assert {file.read_text() for file in out.iterdir()} == {"theirs"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_foreign_file_that_arrives_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def disturbed(temporary: Path) -> None:
        (temporary / "ours.txt").write_text("new")
        (out / "thesis.txt").write_text("theirs")

    with pytest.raises(InputError, match=r"thesis.txt"), atomic_folder(out, OURS) as temporary:
        disturbed(temporary)
    assert (out / "thesis.txt").read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_is_no_folder_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("theirs")
    else:
        os.mkfifo(out)
    with pytest.raises(InputError, match=r"out is no folder.*choose another --out"):
        write_ours(out)
    assert out.is_fifo() == (kind == "fifo")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_not_replaced_by_one(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    if kind == "folder":
        out.mkdir()
    else:
        os.mkfifo(out)
    with pytest.raises(InputError, match="no file that could be replaced"), atomic_file(out):
        pytest.fail("nothing may be written")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    disk, link, file = tmp_path / "disk", tmp_path / "link", tmp_path / "file"
    disk.mkdir()
    link.symlink_to(disk)
    write_ours(link)
    assert link.is_symlink()
    assert (disk / "ours.txt").read_text() == "new"
    (tmp_path / "data.txt").write_text("old")
    file.symlink_to(tmp_path / "data.txt")
    with atomic_file(file) as temporary:
        temporary.write_text("new")
    assert file.is_symlink()
    assert (tmp_path / "data.txt").read_text() == "new"


def test_a_link_that_leads_in_a_circle_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    with pytest.raises(InputError, match=r"one.*mend the link"):
        write_ours(one)


def test_what_a_killed_process_left_is_cleared_and_what_it_moved_is_put_back(
    tmp_path: Path,
) -> None:
    dead, out = a_pid_that_is_dead(), tmp_path / "out"
    (tmp_path / f".out.partial-{dead}-abc123").mkdir()
    (tmp_path / f".out.old-{dead}-abc123").mkdir()
    (tmp_path / f".out.old-{dead}-abc123" / "ours.txt").write_text("old")
    living = tmp_path / f".out.partial-{os.getppid()}-abc123"
    living.mkdir()
    # Another of the same number, killed before: in a container every process may have it.
    (tmp_path / f".out.partial-{os.getpid()}-abc123").mkdir()

    def failing() -> None:
        assert (out / "ours.txt").read_text() == "old"
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_folder(out, OURS):
        failing()
    assert sorted(file.name for file in tmp_path.iterdir()) == [living.name, "out"]


def test_a_file_of_a_like_name_is_not_taken_for_a_leftover(tmp_path: Path) -> None:
    theirs = [".out", ".out.partial", ".out.old-notes-2024-abc", ".out.txt"]
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    write_ours(tmp_path / "out")
    assert all((tmp_path / name).read_text() == "theirs" for name in theirs)

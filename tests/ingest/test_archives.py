"""Unpacking: whole, or nothing, whoever made the archive."""

import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_vae.errors import InputError
from recsys_vae.ingest import archives
from recsys_vae.ingest.archives import is_archive, unpack
from tests.ingest.faulty_server import FaultyServer
from tests.ingest.made_up import (
    DIR,
    FILE,
    ROWS,
    card_of,
    got,
    left_in,
    refusal,
    tar_of,
    zip_of,
)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_good_archive_is_unpacked_whole(tmp_path: Path, kind: str) -> None:
    files = {"ml/ratings.csv": ROWS, "ml/deep/er/x.txt": b"", "READ ME": b"caf\xc3\xa9"}
    path = tmp_path / f"all.{kind}"
    tar = [("ml", DIR, b""), *((f"./{name}", FILE, content) for name, content in files.items())]
    path.write_bytes(zip_of({"ml/": b""} | files) if kind == "zip" else tar_of(*tar))
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
    **{f"zip named {name[:20]!r}": ("zip", zip_of({name: b"x"})) for name in _ODD_NAMES if name},
    **{f"tar named {name[:20]!r}": ("tar.gz", tar_of((name, FILE, b"x"))) for name in _ODD_NAMES},
    "zip with a link": ("zip", zip_of({"a": b"/etc/passwd"}, a=stat.S_IFLNK | 0o777)),
    "zip with a device": ("zip", zip_of({"a": b""}, a=stat.S_IFCHR | 0o666)),
    "zip with a pipe": ("zip", zip_of({"a": b""}, a=stat.S_IFIFO | 0o666)),
    "zip with case twins": ("zip", zip_of({"a/b": b"x", "A": b"y"})),
    "zip with a file as a folder": ("zip", zip_of({"a": b"x", "a/b": b"y"})),
    "zip bomb": ("zip", zip_of({"a": b"\0" * (18 * 2**20)})),
    "tar with a link": ("tar.gz", tar_of(("a", tarfile.SYMTYPE, b""))),
    "tar with a hard link": ("tar.gz", tar_of(("a", tarfile.LNKTYPE, b""))),
    "tar with a device": ("tar.gz", tar_of(("a", tarfile.CHRTYPE, b""))),
    "tar with a pipe": ("tar.gz", tar_of(("a", tarfile.FIFOTYPE, b""))),
    "tar with twins": ("tar.gz", tar_of(("a", FILE, b"x"), ("a", FILE, b"y"))),
    "tar with a folder over a file": ("tar.gz", tar_of(("a", FILE, b"x"), ("a", DIR, b""))),
    "tar bomb": ("tar.gz", tar_of(("a", FILE, b"\0" * (40 * 2**20)))),
    "tar with a bomb of a header": ("tar.gz", tar_of(("a", tarfile.XHDTYPE, b"0" * (40 * 2**20)))),
}


@pytest.mark.parametrize("case", _HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_of_it_stays(
    server: FaultyServer, tmp_path: Path, case: str
) -> None:
    kind, content = _HOSTILE[case]
    server.files[f"/all.{kind}"] = content
    sentence = refusal(card_of(server, f"all.{kind}", reads="a"), tmp_path / "down", f"all.{kind}")
    assert sentence.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["down"]
    assert all(path.name.startswith("mine.all.") for path in (tmp_path / "down").glob("[!.]*"))
    assert left_in(tmp_path / "down")[:1] != ["mine"]


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
    (tmp_path / "all.zip").write_bytes(zip_of({str(number): b"" for number in range(4)}))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="more than 3 members"):
        unpack(tmp_path / "all.zip", tmp_path / "out")


def test_a_zip_that_lies_about_its_sizes_is_stopped(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a": b"\0" * (40 * 2**20)}))
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
    whole = zip_of({"rows.csv": ROWS}) if kind == "zip" else tar_of(("rows.csv", FILE, ROWS))
    server.files[f"/all.{kind}"] = whole[: int(share * len(whole))]
    card = card_of(server, f"all.{kind}", reads="rows.csv")
    refusal(card, tmp_path, f"all.{kind} is cut or damaged.*fetch it again")
    assert left_in(tmp_path) == []
    server.files[f"/all.{kind}"], server.tag = whole, '"two"'
    assert (got(card, tmp_path) / "rows.csv").read_bytes() == ROWS


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # a folder for each example
)
@given(data=st.data())
def test_a_damaged_archive_never_ends_in_another_error(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(zip_of({"a": ROWS[:999]}) if kind == "zip" else tar_of(("a", FILE, ROWS)))
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


@pytest.mark.parametrize("place", [-8, -1])  # of gzip's checksum, and of its length
def test_gzip_is_read_to_its_checksum(tmp_path: Path, place: int) -> None:
    content = bytearray(tar_of(("a", FILE, ROWS)))
    content[place] ^= 1
    (tmp_path / "all.tar.gz").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="cut or damaged"):
        unpack(tmp_path / "all.tar.gz", tmp_path / "out")

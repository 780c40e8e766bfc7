"""Odd folders and archives: what cannot be read is said, never passed over in silence."""

import bz2
import io
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_vae.errors import InputError
from recsys_vae.ingest.cleaning import CleaningOptions
from recsys_vae.ingest.pieces import pieces_of
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.steps.ingest import IngestOptions, ingest

ROWS = "user,item\n1,7\n2,8\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.csv", "sub/b.csv"):
        (folder / name).write_text(ROWS)
    return folder


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("target", ["nowhere", "/dev/null", ".."])
def test_a_link_that_is_not_followed_is_refused(data: Path, target: str) -> None:
    (data / "c.csv").symlink_to(target)
    with pytest.raises(InputError, match=r"c\.csv is no regular file"):
        pieces_of(data)
    (data / "c.csv").rename(data / "_c.csv")
    assert len(pieces_of(data)) == 2


def test_a_pipe_in_a_folder_is_refused(data: Path) -> None:
    os.mkfifo(data / "sub" / "c.csv")
    with pytest.raises(InputError, match=r"c\.csv is no regular file"):
        pieces_of(data)


def test_a_folder_that_cannot_be_looked_into_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    # Whoever runs the tests may have permission for everything.
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=r"sub'.*ask for permission"):
        pieces_of(data)


@pytest.mark.usefixtures("store")
def test_results_do_not_go_where_the_data_are(data: Path) -> None:
    cleaning = CleaningOptions(min_user_items=1)
    with pytest.raises(InputError, match=r"lies in --data.*choose another --out"):
        ingest(IngestOptions(data=str(data), cleaning=cleaning, out=data / "sub" / "out"))
    assert sorted(file.name for file in data.rglob("*")) == ["a.csv", "b.csv", "sub"]
    # Such names are passed over by the next run, too.
    for _ in range(2):
        done = ingest(IngestOptions(data=str(data), cleaning=cleaning, out=data / "_out"))
        assert len(done.interactions) == 2


def test_rows_of_the_folder_for_no_value_have_none(tmp_path: Path) -> None:
    folder = tmp_path / "user=__HIVE_DEFAULT_PARTITION__"
    folder.mkdir()
    (folder / "a.csv").write_text("item,n\n1,1\n")
    with pytest.raises(InputError, match="row 1: the user id is missing"):
        read_interactions(tmp_path)


@pytest.mark.parametrize("suffix", ["bz2", "zst"])
def test_a_packed_file_in_an_archive_is_found(tmp_path: Path, suffix: str) -> None:
    data = ROWS.encode()
    packed = bz2.compress(data) if suffix == "bz2" else pa.compress(data, "zstd", asbytes=True)
    path = zipped(tmp_path / "r.zip", {f"r.csv.{suffix}": packed})
    assert len(read_interactions(path)) == 2


def test_a_damaged_archive_is_called_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path / "r.zip", {"r.csv": ROWS.encode()})
    path.write_bytes(path.read_bytes()[:-9])
    for asked in (path, path / "r.csv"):
        with pytest.raises(InputError, match=r"r\.zip is no zip archive, or one that was cut off"):
            read_interactions(asked)


def test_an_archive_of_archives_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("r.csv", ROWS)
    path = zipped(tmp_path / "r.zip", {"in.zip": inner.getvalue()})
    with pytest.raises(InputError, match="holds 0 files of data"):
        read_interactions(path)
    with pytest.raises(InputError, match="holds 0 files of data"):
        read_interactions(zipped(tmp_path / "empty.zip", {}))

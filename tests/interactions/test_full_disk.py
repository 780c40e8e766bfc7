"""A disk without room: nothing half-written is taken for whole, and the sentence says where."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys_vae.files import atomic_file, atomic_folder
from recsys_vae.interactions import Interactions, save_interactions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")


@contextmanager
def room_for(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: as on a full disk, what still fits is written."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [1_000, 50_000, 90_000])
def test_interactions_are_stored_whole_or_not_at_all(tmp_path: Path, n_bytes: int) -> None:
    rows = np.arange(25_000)
    frame = pd.DataFrame({"user": rows // 50, "item": rows % 50})
    interactions = Interactions.from_frame(frame)
    with room_for(n_bytes), pytest.raises(OSError, match="out") as caught:
        save_interactions(interactions, tmp_path / "out")
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_the_error_says_what_was_being_written(tmp_path: Path) -> None:
    with (
        room_for(10),
        pytest.raises(OSError, match=r"a\.txt"),
        atomic_file(tmp_path / "a.txt") as to,
    ):
        to.write_text("x" * 100)
    inner = tmp_path / "folder"
    with room_for(10), pytest.raises(OSError, match="folder"), atomic_folder(inner, ["*"]) as to:
        (to / "b.txt").write_text("x" * 100)
    assert list(tmp_path.iterdir()) == []

"""Where a single file may be written: under a name that says what it is, and where it stays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from recsys_vae.errors import InputError

_WITH_PARTS: Final = ("split.json", "ingest.json", "evaluation.json")
_RESULTS: Final = (*_WITH_PARTS, "model.json", "interactions.json", "_manifest.json")


def check_file_out(out: Path, suffixes: Sequence[str]) -> None:
    """Refuse a name for a file that would mislead, or that a later run would take away.

    Args:
        out: the file that is to be written.
        suffixes: that it may have; the first is proposed.

    Raises:
        InputError: it has another suffix, is a folder, or lies in a folder of results.
    """
    if out.is_dir():
        within = out / f"all{suffixes[0]}"
        raise InputError(f"--out {out} is a folder: name a file in it, such as {within}")
    if out.suffix.lower() not in suffixes:
        better = out.with_suffix(suffixes[0])
        raise InputError(f"--out {out} has another suffix than {suffixes[0]}: choose {better}")
    for level, folder in enumerate(out.absolute().parents[:3]):
        # Further up, a file of so common a name as model.json may be anybody's.
        names = _WITH_PARTS if level else _RESULTS
        inside = next((name for name in names if (folder / name).exists()), None)
        if inside is not None:
            raise InputError(
                f"--out {out} lies beside or below {inside}, in a folder that a later run replaces "
                f"as a whole: choose {folder.parent / out.name}"
            )

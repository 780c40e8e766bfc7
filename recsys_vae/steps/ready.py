"""ready: the parts that others have published become a split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from recsys_vae.errors import InputError
from recsys_vae.files import check_replaceable, refuse_loss
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.source import read_alike
from recsys_vae.interactions import Interactions
from recsys_vae.splitting import Split, save_split
from recsys_vae.splitting.ready import Halves, ready_made, ready_made_strong
from recsys_vae.splitting.split import CONTENTS, MANIFEST, counts
from recsys_vae.tracking.runs import step_run

_STRONG: Final = ("train", "validation_tr", "validation_te", "test_tr", "test_te")
"""Files (with `.csv`, columns `uid` and `sid`) of the protocol of Liang et al., 2018."""


def take_over(
    *,
    train: Path,
    test: Path | None,
    validation: Path | None = None,
    validation_share: float = 0.1,
    seed: int = 98765,
    reading: ReadOptions | None = None,
    out: Path,
) -> Split:
    """Make a split of published files, as they are: nothing is cleaned or counted as too few.

    Args:
        train: a file of interactions; or, without `test`, a folder of the Mult-VAE protocol
            (`train.csv`, `validation_tr.csv`, `validation_te.csv`, `test_tr.csv`, `test_te.csv`).
        test: a file of the same users' other interactions.
        validation: likewise; None: `validation_share` of each user's `train`, drawn by `seed`.
        validation_share: see there.
        seed: of the draw.
        reading: what the files do not say about themselves.
        out: the folder to write the split to.

    Returns:
        The split, as written.

    Raises:
        InputError: a file is missing or cannot be used; nothing is written then.
    """
    check_replaceable(out, CONTENTS, [MANIFEST])
    refuse_loss(out, [train, test, validation])
    options = reading or ReadOptions()
    with step_run("ready") as run:
        if test is None:
            made, repeated = _strong(train, options)
        else:
            files = {"train": train, "test": test, "validation": validation}
            parts, repeated = _read_all(files, options)
            made = ready_made(
                parts["train"],
                parts["test"],
                validation=parts.get("validation"),
                validation_share=validation_share,
                seed=seed,
            )
        made.description["counts"] |= repeated
        save_split(made, out)
        run.params("ready", {"train": str(train), "test": str(test), "kind": made.kind})
        run.dataset(made.train, "train", "ready")
        run.metrics(counts(made))
        run.artifact(out / MANIFEST)
        return made


def _read_all(
    files: Mapping[str, Path | None], options: ReadOptions
) -> tuple[dict[str, Interactions], dict[str, int]]:
    """Read the files that are given; count the rows of each that repeat another one of it."""
    parts, repeated = {}, {}
    options = read_alike([path for path in files.values() if path is not None], options)
    for name, path in files.items():
        if path is not None:
            frame = read_interactions(path, options)[["user", "item"]]
            parts[name] = Interactions.from_frame(frame)
            repeated[f"{name}_rows_repeated"] = len(frame) - len(parts[name])
    return parts, repeated


def _strong(folder: Path, options: ReadOptions) -> tuple[Split, dict[str, int]]:
    absent = [f"{name}.csv" for name in _STRONG if not (folder / f"{name}.csv").is_file()]
    if absent:
        raise InputError(
            f"{folder} has no {absent[0]}: give --test beside --train, or a folder with "
            f"{', '.join(f'{name}.csv' for name in _STRONG)}"
        )
    parts, repeated = _read_all({name: folder / f"{name}.csv" for name in _STRONG}, options)
    train, *halves = parts.values()
    made = ready_made_strong(train, Halves(halves[0], halves[1]), Halves(halves[2], halves[3]))
    return made, repeated

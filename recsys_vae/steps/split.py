"""split: interactions become what is learned from and what is to be found."""

from dataclasses import asdict
from pathlib import Path

from recsys_vae.errors import InputError
from recsys_vae.files import check_replaceable, read_json, refuse_loss
from recsys_vae.interactions import load_interactions
from recsys_vae.interactions.store import INTERACTIONS
from recsys_vae.splitting import Split, SplitOptions, save_split, split_by
from recsys_vae.splitting.split import CONTENTS, MANIFEST, counts
from recsys_vae.steps.ingest import REPORT
from recsys_vae.tracking.runs import step_run


def split(*, data: Path, out: Path, options: SplitOptions) -> Split:
    """Split stored interactions.

    Args:
        data: a folder that `ingest` wrote.
        out: the folder to write the split to.
        options: of the kind of split that is wanted.

    Returns:
        The split, as written.

    Raises:
        InputError: the data are unusable or too few; nothing is written then.
    """
    check_replaceable(out, CONTENTS, [MANIFEST])
    refuse_loss(out, [data])
    with step_run("split") as run:
        report = read_json(
            data / REPORT, what="ingested data", remedy="make it with 'recsys-vae ingest'"
        )
        interactions = load_interactions(data / INTERACTIONS)
        made = split_by(interactions, options)
        for name, fold in (("validation", made.validation), ("test", made.test)):
            if not len(fold.held_out):
                raise InputError(
                    f"nothing is to be found in the {name}, because its users have too few items "
                    "for the share that is held out: choose a larger --held-out-share, or give "
                    "more data"
                )
        made.description["threshold"] = report.get("threshold")
        save_split(made, out)
        run.params("split", {"kind": options.kind, **asdict(options)})
        run.dataset(interactions, "interactions", "split")
        run.metrics(counts(made))
        run.artifact(out / MANIFEST)
        return made

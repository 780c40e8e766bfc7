"""split: interactions become training users and held-out users."""

from dataclasses import asdict
from pathlib import Path

from recsys_vae.files import check_replaceable, read_json
from recsys_vae.interactions import load_interactions
from recsys_vae.splitting import Split, StrongOptions, save_split, split_strong
from recsys_vae.splitting.split import CONTENTS, MANIFEST, counts
from recsys_vae.steps.ingest import INTERACTIONS, REPORT
from recsys_vae.tracking.runs import step_run


def split(*, data: Path, out: Path, options: StrongOptions) -> Split:
    """Split stored interactions by users.

    Args:
        data: a folder that `ingest` wrote.
        out: the folder to write the split to.
        options: sizes and seed.

    Returns:
        The split, as written.

    Raises:
        InputError: the data are unusable or too few; nothing is written then.
    """
    check_replaceable(out, CONTENTS)
    with step_run("split") as run:
        report = read_json(
            data / REPORT, what="ingested data", remedy="make it with 'recsys-vae ingest'"
        )
        interactions = load_interactions(data / INTERACTIONS)
        made = split_strong(interactions, options)
        made.description["threshold"] = report.get("threshold")
        save_split(made, out)
        run.params("split", asdict(options))
        run.dataset(interactions, "interactions", "split")
        run.metrics(counts(made))
        run.artifact(out / MANIFEST)
        return made

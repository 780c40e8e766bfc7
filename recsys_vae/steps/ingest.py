"""ingest: a file of interactions becomes clean interactions and an account of every row."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys_vae.errors import InputError
from recsys_vae.files import atomic_folder, check_replaceable, refuse_loss, write_json
from recsys_vae.ingest.catalogue import Catalogue, read_catalogue
from recsys_vae.ingest.cleaning import Account, CleaningOptions
from recsys_vae.ingest.data_warnings import DataWarning, titles_warning, warnings_of
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.profile import profile
from recsys_vae.ingest.quarantine import QUARANTINE
from recsys_vae.ingest.reading import ReadOptions
from recsys_vae.ingest.sample import make_sample
from recsys_vae.ingest.source import FileSource, Source, TableSource
from recsys_vae.interactions import Interactions, load_interactions
from recsys_vae.interactions.store import INTERACTIONS, LOW_RATINGS
from recsys_vae.tracking.runs import step_run

SAMPLE = "sample"
REPORT = "ingest.json"
ITEMS = "items.parquet"
PROFILE = "profile.json"
CONTENTS = (INTERACTIONS, LOW_RATINGS, ITEMS, REPORT, PROFILE, QUARANTINE)
PROOF = (REPORT, PROFILE)
"""Names that no other folder has, as may be the case with the others of `CONTENTS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """Where from, how, and where to.

    Attributes:
        data: a file, a zip archive or a folder of interactions, or "sample" for the embedded ones.
        items: a file of item titles, or None.
        reading: what the files do not say about themselves.
        cleaning: what to keep.
        out: the folder to write.
    """

    data: str
    items: Path | None = None
    reading: ReadOptions = ReadOptions()
    cleaning: CleaningOptions = CleaningOptions()
    out: Path


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came out.

    Attributes:
        interactions: as stored.
        account: what became of every row.
        low: pairs of user and item that are kept in `low-ratings/`.
        warnings: what in the data is probably not meant.
        folder: that was written.
    """

    interactions: Interactions
    account: Account
    low: int
    warnings: tuple[DataWarning, ...]
    folder: Path


def ingest(options: IngestOptions) -> Ingested:
    """Read, clean, number and store interactions.

    Returns:
        The interactions and the account; `options.out` holds `interactions/`, `ingest.json`,
        `profile.json` and, where there are any, titles in `items.parquet`, lower ratings of the
        same users and items in `low-ratings/`, and rows that were set aside in `quarantine.csv`.

    Raises:
        InputError: anything in the input is unusable; nothing is written then.
    """
    check_replaceable(options.out, CONTENTS, PROOF)
    if options.items is None and options.reading.columns.title is not None:
        raise InputError(
            f"--title-column {options.reading.columns.title} is a column of a file of titles: name "
            "the file as --items, or leave the option out"
        )
    read = None if options.data == SAMPLE else Path(options.data)
    refuse_loss(options.out, [read, options.items])
    refuse_within(options.out, read)
    with step_run("ingest") as run:
        source: Source = FileSource(Path(options.data), options.reading)
        catalogue = Catalogue.empty()
        if options.data == SAMPLE:
            sample = make_sample()
            catalogue = sample.catalogue
            source = TableSource(pa.Table.from_pandas(sample.ratings, preserve_index=False), SAMPLE)
        if options.items is not None:
            catalogue = read_catalogue(options.items, options.reading)
        with atomic_folder(options.out, CONTENTS) as temporary:
            stored = store_rows(
                source,
                options.cleaning,
                temporary / INTERACTIONS,
                temporary,
                low_folder=temporary / LOW_RATINGS,
            )
            interactions = load_interactions(temporary / INTERACTIONS)
            account, warnings = stored.account, warnings_of(interactions)
            if options.items is not None and len(catalogue.frame):
                ids = interactions.items.ids(np.arange(len(interactions.items)))
                titled = str(catalogue.frame.index[0])
                other = titles_warning(catalogue.known(ids), interactions.items, titled)
                warnings += () if other is None else (other,)
            made = profile(interactions, interactions.times)
            made.save(temporary / PROFILE)
            if len(catalogue.frame):
                catalogue.save(temporary / ITEMS)
            cleaning = {**options.cleaning.report(), "threshold": account.threshold}
            report = {
                "source": options.data if options.data == SAMPLE else str(_absolute(options.data)),
                "threshold": account.threshold,
                "options": cleaning,
                "steps": account.report(),
                "rejected": account.rejected,
                "low_ratings": stored.low,
                "warnings": [asdict(one) for one in warnings],
                "fingerprint": stored.fingerprint,
            }
            write_json(temporary / REPORT, report)
        interactions = load_interactions(options.out / INTERACTIONS)
        run.params("cleaning", cleaning)
        run.dataset(interactions, "interactions", "ingest")
        run.metrics({"users": len(interactions.users), "items": len(interactions.items)})
        run.metrics({"interactions": len(interactions)})
        run.metrics({"rejected_rows": sum(account.rejected.values())})
        run.artifact(options.out / REPORT)
        run.artifact(options.out / PROFILE)
        return Ingested(interactions, account, stored.low, warnings, options.out)


def refuse_within(out: Path, data: Path | None) -> None:
    """Refuse to write where the next run would read.

    Raises:
        InputError: `out` lies in the folder of data.
    """
    if data is None or not data.is_dir() or not out.resolve().is_relative_to(data.resolve()):
        return
    parts = out.resolve().relative_to(data.resolve()).parts
    if not any(part.startswith((".", "_")) for part in parts):
        raise InputError(
            f"--out {out} lies in --data {data}, where it would be read as data the next time: "
            "choose another --out"
        )


def _absolute(data: str) -> Path:
    return Path(data).resolve()

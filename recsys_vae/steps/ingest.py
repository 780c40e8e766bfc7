"""ingest: a file of interactions becomes clean interactions and an account of every row."""

from dataclasses import asdict, dataclass
from pathlib import Path

from recsys_vae.files import atomic_folder, check_replaceable, write_json
from recsys_vae.ingest.catalogue import Catalogue, read_catalogue
from recsys_vae.ingest.cleaning import Cleaned, CleaningOptions, clean
from recsys_vae.ingest.columns import ColumnNames
from recsys_vae.ingest.readers import read_interactions
from recsys_vae.ingest.sample import make_sample
from recsys_vae.interactions import Interactions, save_interactions
from recsys_vae.tracking.runs import step_run

SAMPLE = "sample"
REPORT = "ingest.json"
INTERACTIONS = "interactions"
ITEMS = "items.parquet"
CONTENTS = (INTERACTIONS, ITEMS, REPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """Where from, how, and where to.

    Attributes:
        data: a CSV, TSV or Parquet file, or "sample" for the embedded one.
        items: a file of item titles, or None.
        columns: column names, found by convention where None.
        cleaning: what to keep.
        out: the folder to write.
    """

    data: str
    items: Path | None = None
    columns: ColumnNames = ColumnNames()
    cleaning: CleaningOptions = CleaningOptions()
    out: Path


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came out."""

    interactions: Interactions
    cleaned: Cleaned
    folder: Path


def ingest(options: IngestOptions) -> Ingested:
    """Read, clean, number and store interactions.

    Returns:
        The interactions and the account; `options.out` holds `interactions/`,
        `ingest.json` and, where titles are known, `items.parquet`.

    Raises:
        InputError: anything in the input is unusable; nothing is written then.
    """
    check_replaceable(options.out, CONTENTS)
    with step_run("ingest") as run:
        source = Path(options.data)
        catalogue = Catalogue.empty()
        if options.data == SAMPLE:
            sample = make_sample()
            catalogue = sample.catalogue
            frame = sample.ratings
            frame.insert(0, "row", range(1, len(frame) + 1))
        else:
            frame = read_interactions(source, options.columns)
        if options.items is not None:
            catalogue = read_catalogue(options.items, options.columns)
        cleaned = clean(frame, options.cleaning, source)
        interactions = Interactions.from_frame(cleaned.frame)
        report = {
            "source": options.data if options.data == SAMPLE else str(source.resolve()),
            "threshold": cleaned.threshold,
            "options": asdict(options.cleaning),
            "steps": cleaned.report(),
            "fingerprint": interactions.fingerprint,
        }
        with atomic_folder(options.out, CONTENTS) as temporary:
            save_interactions(interactions, temporary / INTERACTIONS)
            if len(catalogue.frame):
                catalogue.save(temporary / ITEMS)
            write_json(temporary / REPORT, report)
        run.params("cleaning", {**asdict(options.cleaning), "threshold": cleaned.threshold})
        run.dataset(interactions, "interactions", "ingest")
        run.metrics({"users": len(interactions.users), "items": len(interactions.items)})
        run.metrics({"interactions": len(interactions)})
        run.artifact(options.out / REPORT)
        return Ingested(interactions, cleaned, options.out)

"""Clean rows that are in memory, through the whole engine."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa

from recsys_vae.ingest.cleaning import CleaningOptions, Step
from recsys_vae.ingest.engine import store_rows
from recsys_vae.ingest.source import TableSource
from recsys_vae.interactions import Interactions, load_interactions


@dataclass(frozen=True)
class Cleaned:
    interactions: Interactions
    steps: tuple[Step, ...]
    threshold: float | None
    rejected: dict[str, int]

    @property
    def frame(self) -> pd.DataFrame:
        return self.interactions.frame()[["user", "item"]]


def clean(frame: pd.DataFrame, options: CleaningOptions, file: Path) -> Cleaned:
    roles = [name for name in ("user", "item", "rating", "timestamp") if name in frame.columns]
    table = pa.Table.from_pandas(frame[roles], preserve_index=False)
    with TemporaryDirectory() as folder:
        stored = store_rows(
            TableSource(table, str(file)), options, Path(folder) / "out", Path(folder)
        )
        interactions = load_interactions(Path(folder) / "out")
    account = stored.account
    return Cleaned(interactions, account.steps, account.threshold, account.rejected)

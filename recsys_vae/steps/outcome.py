"""What the whole line brought, and what a person reads of it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from recsys_vae.evaluation.measures import metric_label
from recsys_vae.steps.cache import Done
from recsys_vae.steps.line import REFITTED
from recsys_vae.tracking.runs import tracking_uri


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the line brought.

    Attributes:
        steps: the finished steps by name, such as "split" or "train mult-vae", in their order.
        out: the folder that everything was written to.
        version: URI of the first model in MLflow's registry, which is now `challenger`.
        run_id: of the parent run.
    """

    steps: dict[str, Done]
    out: Path
    version: str
    run_id: str

    @property
    def lists(self) -> Path:
        """Folder of the lists for all users."""
        return self.out / "lists" / "all-users"

    @property
    def models(self) -> dict[str, Path]:
        """Folders of the models by name."""
        names = [one.removeprefix("train ") for one in self.steps if one.startswith("train ")]
        return {name: self.out / "models" / name for name in names}

    @property
    def reused(self) -> list[str]:
        """Names of the steps that had been done before."""
        return [name for name, done in self.steps.items() if done.reused]


def text(outcome: Outcome) -> str:
    """Give the end of the whole line: leaderboard, lists, and where everything is."""
    steps = outcome.steps
    first, folder = next(iter(outcome.models.items()))
    judged = steps["evaluate"].made
    table = pd.DataFrame(judged.facts["table"]).rename(columns=metric_label)
    table = table.rename(columns={"Model": "model"})
    table["seconds"] = [f"{steps[f'train {one}'].made.facts['seconds']:.1f}"
                        for one in outcome.models]  # fmt: skip
    uri = ui = tracking_uri()
    if uri.startswith("sqlite:///"):
        ui = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).resolve()}"
    reused = [f"Not done again, because nothing changed: {', '.join(outcome.reused)}"]
    again = [f"They are made by {first} fitted again to all users: {outcome.out / REFITTED}"]
    return "\n".join(
        [
            steps["ingest"].made.shown,
            "",
            f"Test users: {judged.facts['users']:,}; means with 95 % intervals; seconds of fitting",
            table.to_string(index=False),
            "",
            f"Lists of {first} for three test users",
            "",
            steps["recommend"].made.shown,
            "",
            *(reused if outcome.reused else []),
            f"Lists of all {steps['score'].made.facts['users']:,} users that cleaning kept: "
            f"{outcome.lists} (Parquet); of these three: "
            f"{outcome.lists.parent}/examples.csv",
            *(again if "refit" in steps else []),
            f"Model: {outcome.version}, which is now @challenger (MLflow), {folder} (folder)",
            f"MLflow run {outcome.run_id}; to look at it: make ui, or",
            f"  mlflow ui --backend-store-uri {ui}",
        ]
    )

"""Interactions as MLflow shows the inputs of a run: by fingerprint, with their size."""

import json
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset

from recsys_vae.interactions import Interactions


class InteractionsDataset(Dataset):  # type: ignore[misc] # MLflow is not checked
    """What MLflow's page of a run tells of interactions.

    Args:
        interactions: that the run read.
        name: the part they play, such as "train".
    """

    def __init__(self, interactions: Interactions, name: str) -> None:
        """Take down sizes and fingerprint; the interactions themselves are not kept."""
        users, items = len(interactions.users), len(interactions.items)
        self._sizes = {
            "num_rows": len(interactions),
            "users": users,
            "items": items,
            "density": len(interactions) / max(1, users * items),
            "fingerprint": interactions.fingerprint,
        }
        source = CodeDatasetSource(tags={"name": name})
        super().__init__(source, name=name, digest=interactions.fingerprint[:16])

    def _compute_digest(self) -> str:
        return str(self._sizes["fingerprint"])[:16]

    def to_dict(self) -> dict[str, str]:
        """Give what MLflow stores."""
        return {**super().to_dict(), "profile": json.dumps(self.profile)}

    @property
    def profile(self) -> Any:
        """Rows, users, items, density and the whole fingerprint."""
        return self._sizes

    @property
    def schema(self) -> None:
        """None: there are always users and items."""
        return

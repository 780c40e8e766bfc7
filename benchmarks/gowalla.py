"""The Gowalla check-ins in the adjacency text that graph-recommendation papers share."""

from pathlib import Path

from recsys_vae.ingest.readers import read_interactions
from recsys_vae.interactions import Interactions
from recsys_vae.splitting import Split, StrongOptions, split_strong


def gowalla_split(folder: Path, held_out_users: int = 2_000) -> Split:
    """Hold out users of the training file: its test file is never looked at.

    Args:
        folder: holds `train.txt`, a line `user item item ...` per user.
        held_out_users: validation users.
    """
    interactions = Interactions.from_frame(read_interactions(folder / "train.txt"))
    return split_strong(interactions, StrongOptions(held_out_users=held_out_users))

"""The Gowalla check-ins in the adjacency text that graph-recommendation papers share."""

from pathlib import Path

import numpy as np
import pandas as pd

from recsys_vae.interactions import Interactions
from recsys_vae.splitting import Split, StrongOptions, split_strong


def gowalla_split(folder: Path, held_out_users: int = 2_000) -> Split:
    """Hold out users of the training file: its test file is never looked at.

    Args:
        folder: holds `train.txt`, a line `user item item ...` per user.
        held_out_users: validation users.
    """
    users, items = [], []
    with (folder / "train.txt").open(encoding="ascii") as lines:
        for line in lines:
            user, *taken = map(int, line.split())
            users.append(np.full(len(taken), user))
            items.append(np.array(taken, dtype=np.int64))
    frame = pd.DataFrame({"user": np.concatenate(users), "item": np.concatenate(items)})
    interactions = Interactions.from_frame(frame)
    return split_strong(interactions, StrongOptions(held_out_users=held_out_users))

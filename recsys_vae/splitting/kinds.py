"""The kinds of splits by name."""

from collections.abc import Callable
from typing import Any, Final

from recsys_vae.interactions import Interactions
from recsys_vae.splitting.holdout import (
    LeaveLastOutOptions,
    RandomOptions,
    split_leave_last_out,
    split_random,
)
from recsys_vae.splitting.split import Split
from recsys_vae.splitting.strong import StrongOptions, split_strong
from recsys_vae.splitting.temporal import TemporalOptions, split_temporal

SplitOptions = StrongOptions | LeaveLastOutOptions | TemporalOptions | RandomOptions
Splitter = Callable[[Interactions, Any], Split]

SPLITTERS: Final[dict[str, tuple[type[SplitOptions], Splitter]]] = {
    StrongOptions.kind: (StrongOptions, split_strong),
    LeaveLastOutOptions.kind: (LeaveLastOutOptions, split_leave_last_out),
    TemporalOptions.kind: (TemporalOptions, split_temporal),
    RandomOptions.kind: (RandomOptions, split_random),
}
"""By name: the class of the options, and what splits by them."""


def split_by(interactions: Interactions, options: SplitOptions) -> Split:
    """Split in the way that the options are of.

    Args:
        interactions: all of them.
        options: of one kind of `SPLITTERS`.

    Returns:
        The split.

    Raises:
        InputError: the data do not suit the options.
    """
    _, splitter = SPLITTERS[options.kind]
    return splitter(interactions, options)

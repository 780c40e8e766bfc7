"""Splits of interactions into what is learned from and what is asked."""

from recsys_vae.splitting.holdout import (
    LeaveLastOutOptions,
    RandomOptions,
    split_leave_last_out,
    split_random,
)
from recsys_vae.splitting.kinds import SPLITTERS, SplitOptions, split_by
from recsys_vae.splitting.ready import Halves, ready_made, ready_made_strong
from recsys_vae.splitting.split import FoldIn, Split, load_split, save_split
from recsys_vae.splitting.strong import StrongOptions, split_strong
from recsys_vae.splitting.temporal import TemporalOptions, split_temporal

__all__ = [
    "SPLITTERS",
    "FoldIn",
    "Halves",
    "LeaveLastOutOptions",
    "RandomOptions",
    "Split",
    "SplitOptions",
    "StrongOptions",
    "TemporalOptions",
    "load_split",
    "ready_made",
    "ready_made_strong",
    "save_split",
    "split_by",
    "split_leave_last_out",
    "split_random",
    "split_strong",
    "split_temporal",
]

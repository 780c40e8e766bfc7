"""Splits of interactions into what is learned from and what is asked."""

from recsys_vae.splitting.split import FoldIn, Split, load_split, save_split
from recsys_vae.splitting.strong import StrongOptions, split_strong

__all__ = ["FoldIn", "Split", "StrongOptions", "load_split", "save_split", "split_strong"]

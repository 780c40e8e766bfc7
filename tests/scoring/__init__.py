"""Tests of `recsys_vae.scoring`."""

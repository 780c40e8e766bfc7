"""Tests of `recsys_vae.evaluation`."""

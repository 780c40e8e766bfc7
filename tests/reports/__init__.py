"""Tests of `recsys_vae.reports`."""

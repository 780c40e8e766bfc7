"""Tests of `recsys_vae.ranking`."""

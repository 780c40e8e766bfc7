"""Tests of `recsys_vae.interactions`."""

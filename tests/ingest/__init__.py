"""Tests of `recsys_vae.ingest`."""

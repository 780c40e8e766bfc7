"""Tests of `recsys_vae.splitting`."""

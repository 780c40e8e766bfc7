"""Recommenders, one a file, behind one protocol."""

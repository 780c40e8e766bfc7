"""Proofs that the package does what it says."""

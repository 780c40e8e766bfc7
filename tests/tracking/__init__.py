"""Proofs about the served model."""

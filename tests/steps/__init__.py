"""Proofs about the pipeline."""

"""Proofs about the training loop."""

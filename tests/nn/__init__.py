"""Proofs about tensors."""

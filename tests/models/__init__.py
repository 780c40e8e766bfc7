"""Proofs about models."""

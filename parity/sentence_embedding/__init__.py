"""Parity of sentence embeddings."""

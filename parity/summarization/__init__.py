"""Parity of summaries."""

"""Parity of the task `ner`, for all engines."""

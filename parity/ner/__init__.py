"""Parity of named entities, whatever the engine."""

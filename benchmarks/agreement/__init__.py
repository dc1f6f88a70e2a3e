"""Comparison of this project's answers with those of the originals, on thousands of texts of this machine."""

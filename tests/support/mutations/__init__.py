"""Mutations of valid files and artifacts, which are sealed again so that a reader gets past the hashes."""

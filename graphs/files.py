"""Shim."""

from ..export.graph_files import clean, describe_graph, save_graph  # noqa: F401

from ..export.summarization.compose import compose_graph  # noqa: F401

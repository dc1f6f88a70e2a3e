"""Benchmarks that compare the artifacts with their originals and with other libraries; see README.md."""

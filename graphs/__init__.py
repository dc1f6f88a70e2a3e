"""Builds, edits, saves and describes ONNX graphs, for the stages export and quantize.

A family whose graph both stages build has a package here under its name.
"""

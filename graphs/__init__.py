"""ONNX graphs: building, editing, saving and describing them. Shared by the stages export and quantize.

A family whose graph both stages build has a package here under its name.
"""

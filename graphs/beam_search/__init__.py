"""Beam search in an ONNX graph: composes the graphs of an encoder and a decoder step with the search between steps.

FORMAT.md, "Summaries", defines the search; its reference is `generate` of transformers.
"""

"""Composes the graph of a summarizer from the graph of an encoder, the graph of a decoder step, and the beam search.

FORMAT.md, "Summaries", defines the search; its reference is `generate` of transformers.
"""

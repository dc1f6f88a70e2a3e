"""The graph of a summarizer: composes the graphs of an encoder and a decoder step with the beam search between steps.

FORMAT.md, "Summaries", defines the search; its reference is `generate` of transformers.
"""

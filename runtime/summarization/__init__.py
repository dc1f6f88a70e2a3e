"""Summaries from one graph that holds encoder, decoder and beam search."""

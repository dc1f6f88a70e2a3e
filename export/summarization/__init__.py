"""Export of BART and its distilled versions: one graph with encoder, decoder step and beam search."""

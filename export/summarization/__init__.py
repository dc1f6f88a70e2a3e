"""BART and its distilled kin to one graph: encoder, decoder step and beam search together."""

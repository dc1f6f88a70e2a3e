"""The original models as oracles: the same inputs through them and through every variant, figures, gates and a report."""

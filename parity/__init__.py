"""The original models as oracles: the same inputs through them and every variant, figures, gates and a report."""

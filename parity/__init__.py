"""The stage parity: run the original and every variant on the same inputs, compare, apply the gates, and report."""

"""Quantizes fp32 graphs to int8 graphs and measures the error, and converts them to fp16 graphs."""

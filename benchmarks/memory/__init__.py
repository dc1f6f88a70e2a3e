"""Measure the memory that models use and give back."""

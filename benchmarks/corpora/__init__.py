"""Texts: composed from the parity texts, or read from the documentation of this machine."""

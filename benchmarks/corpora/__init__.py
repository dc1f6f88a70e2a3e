"""The texts of the benchmarks: composed from the parity texts, or read from the documentation of this machine."""

"""fp32 graphs to int8 graphs, and the measured error. Families differ only in their calibration inputs."""

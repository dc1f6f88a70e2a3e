"""Models that are made to be measured: quantized or converted peers, and random weights in the shape of real models."""

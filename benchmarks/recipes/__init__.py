"""Models for measurements: quantized or converted for other libraries, or random in the shape of real models."""

"""fp32 graphs to int8 graphs, and the error that costs. Works on any graph: families differ in what they feed it."""

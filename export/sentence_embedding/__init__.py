"""Export of sentence-transformers pipelines: encoder, pooling, dense layers and normalization as one graph."""

"""Export of sentence-transformers pipelines."""

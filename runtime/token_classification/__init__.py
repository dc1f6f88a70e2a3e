"""Named entities from token classifiers of transformers."""

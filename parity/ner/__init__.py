"""The comparison of entity recognizers with their originals, which all engines of the task `ner` share."""

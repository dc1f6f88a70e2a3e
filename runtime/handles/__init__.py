"""The handles of open models: one class per task, with one full call each."""

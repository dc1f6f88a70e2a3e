"""spaCy's entity recognizer without spaCy: rules, tables and graphs to entities."""

"""A family that exists only in these tests: readability scores of texts."""

"""A store of versions of artifacts, as STORE.md lays it out."""

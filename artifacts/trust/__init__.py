"""Signatures of artifacts and tags, as the section Signatures of STORE.md describes them."""

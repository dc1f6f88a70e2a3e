"""Side-by-side measurements of the artifacts against the originals and the peers; see README.md."""

"""Whether the answers of this project are those of the originals, on thousands of texts of this machine."""

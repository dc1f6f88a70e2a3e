"""The artifact format: manifest, checks, golden cases, sealing and errors. `FORMAT.md` specifies it."""

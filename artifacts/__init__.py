"""The artifact: its format, manifest, checks, golden cases and errors. `FORMAT.md` is the contract."""

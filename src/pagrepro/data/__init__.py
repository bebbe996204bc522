"""Data sets: raw files or a generator -> tensors."""

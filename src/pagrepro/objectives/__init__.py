"""Training objectives of the papers, one idea per file."""

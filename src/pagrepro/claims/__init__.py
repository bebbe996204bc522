"""Rules that judge a claim. Torch-free."""

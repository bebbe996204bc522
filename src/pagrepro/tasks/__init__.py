"""What the training loop fits."""

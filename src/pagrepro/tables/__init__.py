"""Tables. Torch-free."""

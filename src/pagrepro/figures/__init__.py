"""Figures. Torch-free."""

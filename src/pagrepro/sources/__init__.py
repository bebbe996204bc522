"""Adapters for third-party weights."""

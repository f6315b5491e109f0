"""A run from its config to its end."""

"""Weights to and from other systems' files, by name maps that work both ways."""

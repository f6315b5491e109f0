"""Fits a run to its corpus, its machine and its time."""

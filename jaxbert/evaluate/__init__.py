"""Evaluates models and tables of counts on held-out rows with fixed masks."""

"""Encoders and heads as functions over plain nested dicts of parameters."""

"""Texts with labels: from files to rows, and from a model's scores back to answers. Imports no jax."""

"""Tokenizers and sentence splitting: text in, ids out. Imports no jax."""

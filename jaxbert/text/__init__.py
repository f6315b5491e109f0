"""Tokenizers and the splitting of text into sentences. Imports no jax."""

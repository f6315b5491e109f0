"""Scores of answers: labels, numbers, entities, answers to questions, minimal pairs, and intervals. Imports no jax."""

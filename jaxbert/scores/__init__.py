"""What answers are worth: metrics of labels, numbers, entities, answers and pairs, with intervals. Imports no jax."""

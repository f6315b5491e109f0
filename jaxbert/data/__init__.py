"""Documents, token records, training rows, batches. Imports no jax."""

"""Documents -> token records -> training rows -> batches. Imports no jax (only `pipeline` uses grain)."""

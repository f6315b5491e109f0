"""Fine-tuning: from a model and files with labels to runs of several seeds and settings, and their table."""

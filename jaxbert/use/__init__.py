"""A trained model in use: loading, vectors, masks, texts packed into batches."""

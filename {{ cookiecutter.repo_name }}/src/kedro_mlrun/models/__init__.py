"""A model after training: promoted, and served."""

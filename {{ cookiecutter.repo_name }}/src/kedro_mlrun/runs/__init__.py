"""What is recorded of a run, from its beginning to its end."""

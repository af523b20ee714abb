"""The records in a browser."""

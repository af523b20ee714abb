"""Judge the candidates on the test set and pick the best."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]

"""Score the candidates on the test set and choose the best."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]

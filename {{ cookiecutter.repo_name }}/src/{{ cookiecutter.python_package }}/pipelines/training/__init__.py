"""Split the data and train the candidates."""

from .pipeline import create_pipeline

__all__ = ["create_pipeline"]

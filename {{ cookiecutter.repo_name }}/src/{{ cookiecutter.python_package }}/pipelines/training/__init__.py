"""Split the data and train the candidates."""

from .pipeline import create_pipeline as create_pipeline

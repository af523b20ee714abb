"""Predict new rows with the model that was promoted."""

from .pipeline import create_pipeline as create_pipeline

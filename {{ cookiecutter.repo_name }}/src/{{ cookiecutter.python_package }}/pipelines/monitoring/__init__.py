"""Compare new rows with those that the promoted model was trained on."""

from .pipeline import create_pipeline as create_pipeline

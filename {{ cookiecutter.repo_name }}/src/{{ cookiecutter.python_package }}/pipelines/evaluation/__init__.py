"""Score the candidates on the test set, and plot them."""

from .pipeline import create_pipeline as create_pipeline

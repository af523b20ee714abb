"""The inference pipeline."""

from kedro.pipeline import Node, Pipeline

from .nodes import predict_rows


def create_pipeline() -> Pipeline:
    """Predict new rows with the champion."""
    data = ["champion_model", "new_measurements"]
    return Pipeline([Node(predict_rows, data, "predictions", name="predict_rows")])

"""The monitoring pipeline."""

from kedro.pipeline import Node, Pipeline

from .nodes import fail_on_drift, measure_drift, report_drift


def create_pipeline() -> Pipeline:
    """Compare new rows with those that the champion was trained and tested on."""
    data = ["champion_model", "champion_training_set", "champion_test_set", "new_measurements"]
    found = ["drift_plot", "drift"]  # saved in this order, and before the run may fail
    return Pipeline(
        [
            Node(measure_drift, [*data, "params:monitoring"], "drift_table", name="measure_drift"),
            Node(report_drift, "drift_table", found, name="report_drift"),
            Node(fail_on_drift, ["drift", "params:monitoring"], None, name="fail_on_drift"),
        ]
    )

"""The pipelines that `kedro run` knows: each folder of `pipelines/` that has `create_pipeline`."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

AFTER_TRAINING = ("inference", "monitoring")  # need a model that was promoted


def register_pipelines() -> dict[str, Pipeline]:
    """Find each pipeline by its folder's name, and those that train and judge as `__default__`."""
    pipelines = find_pipelines(raise_errors=True)
    parts = [pipeline for name, pipeline in pipelines.items() if name not in AFTER_TRAINING]
    return {**pipelines, "__default__": sum(parts, Pipeline([]))}

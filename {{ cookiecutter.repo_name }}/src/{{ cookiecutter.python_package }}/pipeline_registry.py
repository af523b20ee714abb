"""The pipelines that `kedro run` knows: each folder of `pipelines/` that has `create_pipeline`."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Find each pipeline by its folder's name, and all of them together as `__default__`."""
    pipelines = find_pipelines(raise_errors=True)
    return {**pipelines, "__default__": sum(pipelines.values(), Pipeline([]))}

"""The pipelines that `kedro run` knows: one for each folder in `pipelines/`."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline


def register_pipelines() -> dict[str, Pipeline]:
    """Find the pipelines by name; `__default__` is all of them, in the order of their data.

    Returns:
        `training`, `evaluation` and `__default__`.
    """
    pipelines = find_pipelines(raise_errors=True)
    pipelines["__default__"] = sum(pipelines.values(), Pipeline([]))
    return pipelines

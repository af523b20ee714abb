"""The pipelines that `kedro run` knows."""

from kedro.pipeline import Pipeline

from .pipelines import evaluation, training


def register_pipelines() -> dict[str, Pipeline]:
    """Name the pipelines.

    Returns:
        `training`, `evaluation`, and as `__default__` both, in the order of their data.
    """
    pipelines = {
        "training": training.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
    }
    return {**pipelines, "__default__": sum(pipelines.values(), Pipeline([]))}

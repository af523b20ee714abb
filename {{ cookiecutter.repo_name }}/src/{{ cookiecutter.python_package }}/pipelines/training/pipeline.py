"""The training pipeline."""

from kedro.pipeline import Node, Pipeline

from .. import CANDIDATES
from ..metrics import predict
from .nodes import score_training, split_data, train_model


def create_pipeline() -> Pipeline:
    """Split the data, then train each candidate in a namespace of its own.

    Returns:
        The nodes `split`, `<candidate>.train`, `<candidate>.predict_training` and `score_training`.

    Example:
        >>> sorted(name for name in create_pipeline().inputs() if "split" not in name)
        ['measurements', 'params:random_forest.model', 'params:xgboost.model']
    """
    candidate = Pipeline(
        [
            Node(
                train_model,
                inputs=["training_set", "params:split.target", "params:model"],
                outputs="model",
                name="train",
            ),
            Node(
                predict,
                inputs=["model", "training_set", "params:split.target"],
                outputs="prediction",
                name="predict_training",
            ),
        ]
    )
    # Kedro reserves names with dots for nodes inside their namespace: what leaves it has none.
    predictions = {name: f"{name}_training_prediction" for name in CANDIDATES}
    return Pipeline(
        [
            Node(
                split_data,
                inputs=["measurements", "params:split"],
                outputs=["training_set", "test_set"],
                name="split",
            ),
            *(
                Pipeline(
                    candidate,
                    namespace=name,
                    inputs="training_set",
                    parameters="params:split.target",
                    outputs={"prediction": predictions[name]},
                )
                for name in CANDIDATES
            ),
            Node(
                score_training,
                inputs=predictions,
                outputs="training_metrics",
                name="score_training",
            ),
        ]
    )

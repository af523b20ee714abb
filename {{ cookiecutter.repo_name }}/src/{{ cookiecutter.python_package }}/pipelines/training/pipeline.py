"""The training pipeline."""

from kedro.pipeline import Node, Pipeline

from .. import BOOSTED, CANDIDATES
from ..metrics import predict
from .curves import learning_curve
from .nodes import score_training, split_data, train_model


def create_pipeline() -> Pipeline:
    """Split the data, then train and score each candidate in a namespace of its own."""
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
    boosted = Pipeline(
        [
            Node(
                learning_curve,
                inputs=["model", "training_set", "test_set", "params:split.target"],
                outputs="learning_curve",
                name="learning_curve",
            )
        ]
    )
    # Kedro keeps names with dots for datasets that stay inside a namespace, and these leave it.
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
                    outputs={"model": f"{name}_model", "prediction": predictions[name]},
                )
                for name in CANDIDATES
            ),
            *(
                Pipeline(
                    boosted,
                    namespace=name,
                    inputs={
                        "model": f"{name}_model",
                        "training_set": "training_set",
                        "test_set": "test_set",
                    },
                    parameters="params:split.target",
                    outputs={"learning_curve": f"{name}_learning_curve"},
                )
                for name in BOOSTED
            ),
            Node(
                score_training,
                inputs=predictions,
                outputs="training_metrics",
                name="score_training",
            ),
        ]
    )

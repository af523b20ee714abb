"""The evaluation pipeline."""

from kedro.pipeline import Node, Pipeline

from .. import CANDIDATES
from ..metrics import predict
from .nodes import rank_candidates, score_test
from .plots import plot_confusion_matrix, plot_roc_curve


def create_pipeline() -> Pipeline:
    """Score the trained candidates on the test set, choose the best, and draw the plots."""
    candidate = Pipeline(
        [
            Node(
                predict,
                inputs=["model", "test_set", "params:split.target"],
                outputs="prediction",
                name="predict_test",
            )
        ]
    )
    # Kedro keeps names with dots for datasets that stay inside a namespace, and these leave it.
    predictions = {name: f"{name}_test_prediction" for name in CANDIDATES}
    return Pipeline(
        [
            *(
                Pipeline(
                    candidate,
                    namespace=name,
                    inputs={"model": f"{name}_model", "test_set": "test_set"},
                    parameters="params:split.target",
                    outputs={"prediction": predictions[name]},
                )
                for name in CANDIDATES
            ),
            Node(score_test, inputs=predictions, outputs="evaluation_metrics", name="score_test"),
            Node(
                rank_candidates,
                inputs=["evaluation_metrics", "params:evaluation"],
                outputs=["best_model", "best_score", "leaderboard"],
                name="rank",
            ),
            Node(plot_roc_curve, inputs=predictions, outputs="roc_curve", name="plot_roc_curve"),
            Node(
                plot_confusion_matrix,
                inputs={"best_model": "best_model", **predictions},
                outputs="confusion_matrix",
                name="plot_confusion_matrix",
            ),
        ]
    )

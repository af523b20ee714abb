"""The evaluation pipeline."""

from kedro.pipeline import Node, Pipeline

from .. import CANDIDATES
from ..metrics import predict, score_test
from .plots import plot_confusion_matrix, plot_predictions, plot_residuals, plot_roc_curve


def create_pipeline() -> Pipeline:
    """Score the trained candidates on the test set, which nothing else uses, and draw the plots."""
    test = Node(predict, ["model", "test_set", "params:split"], "prediction", name="predict_test")
    # Kedro keeps names with dots for datasets that stay inside a namespace, and these leave it.
    predictions = {name: f"{name}_test_prediction" for name in CANDIDATES}
    of_best = {"best_model": "best_model", **predictions}
    return Pipeline(
        [
            *(
                Pipeline(
                    [test],
                    namespace=name,
                    inputs={"model": f"{name}_model", "test_set": "test_set"},
                    parameters="params:split",
                    outputs={"prediction": predictions[name]},
                )
                for name in CANDIDATES
            ),
            Node(score_test, predictions, "evaluation_metrics", name="score_test"),
            # Those of the other task draw nothing.
            Node(plot_roc_curve, predictions, "roc_curve", name="plot_roc_curve"),
            Node(plot_confusion_matrix, of_best, "confusion_matrix", name="plot_confusion_matrix"),
            Node(plot_predictions, predictions, "predicted_against_actual", name="plot_errors"),
            Node(plot_residuals, of_best, "residuals", name="plot_residuals"),
        ]
    )

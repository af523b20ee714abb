"""The evaluation pipeline."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from .. import CANDIDATES
from ..metrics import predict, score_test
from . import plots


def create_pipeline() -> Pipeline:
    """Score the trained candidates on the test set, which nothing else uses, and draw the plots."""
    candidate = Pipeline(
        [Node(predict, ["model", "test_set", "params:split"], "prediction", name="predict_test")]
    )
    # Kedro keeps names with dots for datasets that stay inside a namespace, and these leave it.
    predictions = {name: f"{name}_test_prediction" for name in CANDIDATES}
    of_best = {"best_model": "best_model", **predictions}
    # Those of the other task draw nothing.
    drawn: dict[str, tuple[Callable[..., Any], dict[str, str]]] = {
        "roc_curve": (plots.plot_roc_curve, predictions),
        "confusion_matrix": (plots.plot_confusion_matrix, of_best),
        "predicted_against_actual": (plots.plot_predicted_against_actual, predictions),
        "residuals": (plots.plot_residuals, of_best),
    }
    return Pipeline(
        [
            *(
                Pipeline(
                    candidate,
                    namespace=name,
                    inputs={"model": f"{name}_model", "test_set": "test_set"},
                    parameters="params:split",
                    outputs={"prediction": predictions[name]},
                )
                for name in CANDIDATES
            ),
            Node(score_test, predictions, "evaluation_metrics", name="score_test"),
            *(
                Node(function, inputs, name, name=f"plot_{name}")
                for name, (function, inputs) in drawn.items()
            ),
        ]
    )

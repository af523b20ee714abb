"""The training pipeline."""

from kedro.pipeline import Node, Pipeline

from .. import BOOSTED, CANDIDATES
from ..metrics import predict, score_training, score_validation
from .curves import learning_curve
from .nodes import choose_model, rank_candidates, train_model, validate
from .splitting import split_data


def create_pipeline() -> Pipeline:
    """Split the data, train each candidate in a namespace of its own, and choose the best."""
    data, found = ["training_set", "params:split"], ["fold_models", "validation_prediction"]
    candidate = Pipeline(
        [
            Node(validate, [*data, "params:model"], found, name="validate"),
            Node(train_model, [*data, "params:model"], "model", name="train"),
            Node(predict, ["model", *data], "training_prediction", name="predict_training"),
        ]
    )
    folds = ["fold_models", *data]
    curve = Pipeline([Node(learning_curve, folds, "learning_curve", name="learning_curve")])
    # Kedro keeps names with dots for datasets that stay inside a namespace, and most leave it.
    candidates = {name: candidate + curve if name in BOOSTED else candidate for name in CANDIDATES}
    trained = {name: f"{name}_training_prediction" for name in CANDIDATES}
    validated = {name: f"{name}_validation_prediction" for name in CANDIDATES}
    models = {"best_model": "best_model", **{name: f"{name}_model" for name in CANDIDATES}}
    raw = ["measurements", "params:split", "params:choice"]
    ranked = ["best_model", "best_score", "leaderboard"]
    return Pipeline(
        [
            Node(split_data, raw, ["training_set", "test_set"], name="split"),
            *(
                Pipeline(
                    nodes,
                    namespace=name,
                    inputs="training_set",
                    parameters="params:split",
                    outputs={key: f"{name}_{key}" for key in nodes.all_outputs() - {"fold_models"}},
                )
                for name, nodes in candidates.items()
            ),
            Node(score_training, trained, "training_metrics", name="score_training"),
            Node(score_validation, validated, "validation_metrics", name="score_validation"),
            Node(rank_candidates, {"options": "params:choice", **validated}, ranked, name="rank"),
            Node(choose_model, models, "model", name="choose"),
        ]
    )

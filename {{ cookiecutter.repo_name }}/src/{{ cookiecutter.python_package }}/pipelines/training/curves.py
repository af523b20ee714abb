"""Learning curves of boosted models."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..metrics import class_codes

MOST_POINTS = 100
ROUND = "round"
LOSS = "log loss"


def learning_curve(
    model: Any, training_set: pd.DataFrame, test_set: pd.DataFrame, target: str
) -> pd.DataFrame:
    """Compute a fitted model's log loss on both sets, by boosting round.

    The rounds are replayed on the fitted model, which also works for a loaded one. With `eval_set`,
    the test set would influence training as soon as someone sets `early_stopping_rounds`.

    Args:
        model: A fitted classifier: XGBoost's, or one with scikit-learn's `staged_predict_proba`.
        training_set: Features and the categorical target; shape `(rows, features + 1)`.
        test_set: The same columns, with other rows.
        target: The column to predict.

    Returns:
        The columns `train` and `test`; the index is the round, counted from 1. Of more than 100
        rounds, 100 at equal distances are computed, the last round included. The frame is empty
        for a model that does not learn in rounds.

    Example:
        >>> from sklearn.ensemble import GradientBoostingClassifier
        >>> data = pd.DataFrame({"x": range(8), "kind": pd.Categorical(["a", "b"] * 4)})
        >>> model = GradientBoostingClassifier(n_estimators=3)
        >>> model = model.fit(data[["x"]], class_codes(data, "kind"))
        >>> learning_curve(model, data, data, "kind").index.to_list()
        [1, 2, 3]
    """
    sets = {"train": training_set, "test": test_set}
    losses = {name: dict(_losses(model, data, target)) for name, data in sets.items()}
    curve = pd.DataFrame(losses, columns=list(sets), dtype="float64")
    curve.index = curve.index.astype("int64")
    return curve.rename_axis(index=ROUND, columns=LOSS)


def _losses(model: Any, data: pd.DataFrame, target: str) -> Iterator[tuple[int, float]]:
    """Yield rounds and the log loss after each."""
    actual = class_codes(data, target)
    features = data[list(getattr(model, "feature_names_in_", data.columns.drop(target)))]
    for number, probabilities in _stages(model, features):
        of_actual = probabilities[np.arange(len(actual)), actual]
        smallest = np.finfo(of_actual.dtype).eps
        yield number, float(-np.log(of_actual.clip(smallest, 1)).mean())


def _stages(model: Any, features: pd.DataFrame) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rounds and the predicted probabilities after each."""
    if hasattr(model, "staged_predict_proba"):
        # The number of stages is known only at the end.
        stages = list(model.staged_predict_proba(features))
        yield from ((number, stages[number - 1]) for number in _chosen(len(stages)))
    elif hasattr(model, "get_booster") and model.get_params().get("booster") != "gblinear":
        # A linear model would return its last state for any round.
        model = copy.deepcopy(model)
        # In many short calls, threads cost more than they save.
        model.get_booster().set_param({"nthread": 1})
        for number in _chosen(model.get_booster().num_boosted_rounds()):
            yield number, model.predict_proba(features, iteration_range=(0, number))


def _chosen(rounds: int) -> list[int]:
    """Choose rounds at equal distances, so that the curve takes no longer than the training."""
    points = np.linspace(1, rounds, min(rounds, MOST_POINTS))
    return [int(point) for point in points.round()]

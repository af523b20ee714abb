"""Predictions and their metrics, computed the same way for all sets of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .parameters import Metric, SplitParameters, Task

BINARY = 2
METRICS: dict[Task, tuple[Metric, ...]] = {
    "classification": ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"),
    "regression": ("r2", "mae", "rmse"),
}
LOWEST_IS_BEST = ("log_loss", "mae", "rmse")


@dataclass(frozen=True)
class Prediction:
    """One model's predictions for some rows, with the truth."""

    actual: np.ndarray  # the class of each row, as a number from 0, or its number
    predicted: np.ndarray  # likewise
    probabilities: np.ndarray  # of shape (rows, classes)
    classes: tuple[str, ...]  # of two, the last is the positive one; a regression has none

    def take(self, rows: np.ndarray) -> "Prediction":
        """Return the predictions for some of the rows."""
        parts = (self.actual[rows], self.predicted[rows], self.probabilities[rows])
        return Prediction(*parts, self.classes)


def predict(model: Any, data: pd.DataFrame, options: SplitParameters) -> Prediction:
    """Predict the target of data, whose columns may be in any order, to compare with the truth."""
    if options.target not in data.columns:
        raise ValueError(
            f"The data set has no column {options.target!r}, which split.target names. "
            "Run the training pipeline with these parameters to make the sets again."
        )
    known = getattr(model, "classes_", None)
    if known is None:  # a regressor
        predicted = np.asarray(model.predict(data), dtype="float64")
        actual = data[options.target].to_numpy("float64")
        return Prediction(actual, predicted, np.empty((len(data), 0)), ())
    names = tuple(map(str, known))
    actual = pd.Categorical(data[options.target], categories=known).codes.astype("int64")
    if (unknown := data[options.target][actual < 0]).size:
        raise ValueError(
            f"Column {options.target!r} has the class {unknown.iloc[0]!r}, and the model knows "
            f"only {', '.join(names)}. Train again on this data."
        )
    probabilities = np.asarray(model.predict_proba(data))
    return Prediction(actual, probabilities.argmax(axis=1), probabilities, names)


def measure(prediction: Prediction, metric: Metric) -> float:
    """Compute one metric: of two classes that of the last, of more the mean of each against rest."""
    from sklearn import metrics

    actual, predicted = prediction.actual, prediction.predicted
    average = "binary" if len(prediction.classes) == BINARY else "macro"
    options = {"average": average, "zero_division": 0}
    value = {
        "accuracy": lambda: metrics.accuracy_score(actual, predicted),
        "precision": lambda: metrics.precision_score(actual, predicted, **options),
        "recall": lambda: metrics.recall_score(actual, predicted, **options),
        "f1": lambda: metrics.f1_score(actual, predicted, **options),
        "roc_auc": lambda: _roc_auc(prediction),
        "log_loss": lambda: _log_loss(prediction),
        "r2": lambda: metrics.r2_score(actual, predicted),
        "mae": lambda: metrics.mean_absolute_error(actual, predicted),
        "rmse": lambda: metrics.root_mean_squared_error(actual, predicted),
    }[metric]
    return float(value())


# These two are scikit-learn's, without its checks, which take most of the time in `rank_candidates`.
def _roc_auc(prediction: Prediction) -> float:
    from scipy.stats import rankdata

    areas = []
    for number in range(len(prediction.classes))[-1 if len(prediction.classes) == BINARY else 0 :]:
        positive = prediction.actual == number
        count, ranks = positive.sum(), rankdata(prediction.probabilities[:, number])
        areas.append((ranks[positive].mean() - (count + 1) / 2) / (len(positive) - count))
    return np.mean(areas)


def _log_loss(prediction: Prediction) -> float:
    of_actual = prediction.probabilities[np.arange(len(prediction.actual)), prediction.actual]
    return -np.log(of_actual.clip(np.finfo(of_actual.dtype).eps)).mean()


def score(prediction: Prediction) -> dict[str, float]:
    """Compute all metrics that a prediction's task has."""
    task: Task = "classification" if prediction.classes else "regression"
    return {metric: measure(prediction, metric) for metric in METRICS[task]}


def score_training(**predictions: Prediction) -> dict[str, Any]:
    """Score the candidates on the training set: `{"train": {candidate: {metric: value}}}`."""
    return {"train": {name: score(prediction) for name, prediction in predictions.items()}}


def score_validation(**predictions: Prediction) -> dict[str, Any]:
    """Score the candidates on rows that they were not trained on, `{"validation": ...}`."""
    return {"validation": {name: score(prediction) for name, prediction in predictions.items()}}


def score_test(**predictions: Prediction) -> dict[str, Any]:
    """Score the candidates on the test set, which chose none of them: `{"test": ...}`."""
    return {"test": {name: score(prediction) for name, prediction in predictions.items()}}

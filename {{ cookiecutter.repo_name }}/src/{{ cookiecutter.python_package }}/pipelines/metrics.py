"""Predictions and their metrics, computed the same way for the training and the test set."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

BINARY = 2


@dataclass(frozen=True)
class Prediction:
    """One model's predictions for one data set, with the truth.

    Attributes:
        actual: The class of each row, as a number from 0; shape `(rows,)`.
        predicted: The predicted class of each row; shape `(rows,)`.
        probabilities: The probability of each class; shape `(rows, classes)`.
        classes: The names of the classes; of two, the last is the positive one.
    """

    actual: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]


def class_codes(data: pd.DataFrame, target: str) -> np.ndarray:
    """Return the class of each row as its number in the order of the categories.

    Raises:
        ValueError: If the column is missing or not categorical.

    Example:
        >>> class_codes(pd.DataFrame({"kind": pd.Categorical(["b", "a", "b"])}), "kind")
        array([1, 0, 1])
    """
    if target not in data.columns or not isinstance(data[target].dtype, pd.CategoricalDtype):
        raise ValueError(
            f"The data set has no categorical column {target!r}, the target of `split`. "
            "Run the training pipeline with these parameters to make the sets again."
        )
    return data[target].cat.codes.to_numpy(dtype="int64")


def predict(model: Any, data: pd.DataFrame, target: str) -> Prediction:
    """Predict the classes of a data set.

    Args:
        model: A fitted classifier, trained on class numbers.
        data: Features in any column order, and the target; shape `(rows, features + 1)`.
        target: The categorical column to predict.

    Returns:
        The predicted classes and probabilities, with the actual classes.

    Raises:
        ValueError: If a feature is missing, or the model knows another number of classes.

    Example:
        >>> from sklearn.tree import DecisionTreeClassifier
        >>> data = pd.DataFrame({"x": [0, 1], "kind": pd.Categorical(["a", "b"])})
        >>> model = DecisionTreeClassifier().fit(data[["x"]], class_codes(data, "kind"))
        >>> predict(model, data, "kind").predicted
        array([0, 1])
    """
    actual = class_codes(data, target)
    classes = tuple(str(name) for name in data[target].cat.categories)
    # scikit-learn and XGBoost refuse columns in another order than in training.
    names = list(getattr(model, "feature_names_in_", data.columns.drop(target)))
    missing = [name for name in names if name not in data.columns]
    if missing:
        raise ValueError(
            f"The data set lacks columns that the model was trained on: {missing}. "
            "Add them, or train again on this data."
        )
    probabilities = np.asarray(model.predict_proba(data[names]))
    if probabilities.shape[1] != len(classes):
        raise ValueError(
            f"The model knows {probabilities.shape[1]} classes, but column {target!r} has "
            f"{len(classes)}: {', '.join(classes)}. Train again on this data."
        )
    return Prediction(actual, np.asarray(model.predict(data[names])), probabilities, classes)


def score(prediction: Prediction) -> dict[str, float]:
    """Compute all metrics of a prediction.

    With two classes, precision, recall, F1 and ROC AUC are those of the last class; with more, they
    are means over the classes, each against the rest.

    Args:
        prediction: A model's predictions for a data set.

    Returns:
        The value of each metric in `parameters.Metric`.

    Example:
        >>> truth = np.array([0, 1])
        >>> score(Prediction(truth, truth, np.eye(2), ("no", "yes")))["accuracy"]
        1.0
    """
    from sklearn import metrics

    actual, predicted = prediction.actual, prediction.predicted
    probabilities = prediction.probabilities
    numbers = range(len(prediction.classes))
    binary = len(prediction.classes) == BINARY
    average = {"average": "binary" if binary else "macro", "zero_division": 0}
    ranked = probabilities[:, 1] if binary else probabilities
    values = {
        "accuracy": metrics.accuracy_score(actual, predicted),
        "precision": metrics.precision_score(actual, predicted, **average),
        "recall": metrics.recall_score(actual, predicted, **average),
        "f1": metrics.f1_score(actual, predicted, **average),
        "roc_auc": metrics.roc_auc_score(actual, ranked, multi_class="ovr", labels=numbers),
        "log_loss": metrics.log_loss(actual, probabilities, labels=numbers),
    }
    return {name: float(value) for name, value in values.items()}

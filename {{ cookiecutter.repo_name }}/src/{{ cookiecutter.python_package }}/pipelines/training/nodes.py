"""The steps of the training pipeline."""

from typing import Any

import pandas as pd
from kedro.utils import load_obj

from ..metrics import BINARY, Prediction, class_codes, score
from ..parameters import EstimatorParameters, SplitParameters


def split_data(
    measurements: pd.DataFrame, options: SplitParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the data at random, with the same share of each class in both parts.

    Args:
        measurements: Numeric features and the target; shape `(rows, features + 1)`.
        options: The target column, the share of test rows and the seed.

    Returns:
        The training and the test set. Rows keep their index; the target is categorical, its
        categories in the order of their names unless it was categorical before.

    Raises:
        ValueError: If the target is missing, incomplete or has fewer than two classes, if a feature
            is not numeric, or if a class has too few rows to be in both parts.

    Example:
        >>> data = pd.DataFrame({"x": range(8), "kind": ["a", "b"] * 4})
        >>> options = SplitParameters(target="kind", test_size=0.25)
        >>> training_set, test_set = split_data(data, options)
        >>> len(training_set), sorted(test_set["kind"])
        (6, ['a', 'b'])
    """
    _check(measurements, options.target)
    from sklearn.model_selection import train_test_split

    classes = measurements[options.target].astype("category").cat.remove_unused_categories()
    data = measurements.assign(**{options.target: classes})
    counts = classes.value_counts()
    try:
        parts = train_test_split(
            data, test_size=options.test_size, random_state=options.seed, stratify=classes
        )
        complete = all(part[options.target].nunique() == len(counts) for part in parts)
    except ValueError:  # too few rows for scikit-learn to stratify
        complete = False
    if not complete:
        raise ValueError(
            f"Class {counts.index[-1]!r} of column {options.target!r} has {counts.iloc[-1]} of "
            f"{len(data)} rows, too few to be in both sets with split.test_size "
            f"{options.test_size}. "
            "Add rows of that class, leave the class out, or change split.test_size."
        )
    training_set, test_set = parts
    return training_set, test_set


def _check(measurements: pd.DataFrame, target: str) -> None:
    """Refuse data that the candidates can't be trained on, with what to do about it."""
    if target not in measurements.columns:
        raise ValueError(
            f"Column {target!r} is not in the data, whose columns are "
            f"{', '.join(map(str, measurements.columns))}. "
            "Set split.target in conf/base/parameters_training.yml to the column to predict."
        )
    missing = int(measurements[target].isna().sum())
    if missing:
        raise ValueError(
            f"Column {target!r} has no value in {missing} of {len(measurements)} rows. "
            "Fill in or drop these rows: every row needs its class."
        )
    classes = measurements[target].nunique()
    if classes < BINARY:
        raise ValueError(
            f"Column {target!r} has {classes} class(es), where at least two are needed. "
            "Set split.target to another column, or add rows of another class."
        )
    features = measurements.drop(columns=target)
    if features.empty:
        raise ValueError(
            f"The data has no column beside the target {target!r}. "
            "Add the columns to predict it from."
        )
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    if text:
        raise ValueError(
            f"Columns that are not numeric: {', '.join(map(repr, text))}. "
            "Turn them into numbers, or leave them out: "
            "`load_args: {usecols: [...]}` of `measurements` in conf/base/catalog.yml."
        )


def train_model(training_set: pd.DataFrame, target: str, model: EstimatorParameters) -> Any:
    """Train the classifier that the parameters name.

    It learns the classes as numbers in the order of the categories: every classifier takes those.

    Args:
        training_set: Numeric features and the categorical target; shape `(rows, features + 1)`.
        target: The column to predict.
        model: The estimator's import path and its keyword arguments.

    Returns:
        The fitted estimator.

    Raises:
        ValueError: If the estimator can't be imported, is no classifier with probabilities, or
            doesn't take the arguments.

    Example:
        >>> data = pd.DataFrame({"x": [0, 1], "kind": pd.Categorical(["a", "b"])})
        >>> tree = EstimatorParameters(estimator="sklearn.tree.DecisionTreeClassifier")
        >>> train_model(data, "kind", tree).predict(data[["x"]])
        array([0, 1])
    """
    classes = class_codes(training_set, target)
    estimator = _estimator(model)
    estimator.fit(training_set.drop(columns=target), classes)
    return estimator


def _estimator(model: EstimatorParameters) -> Any:
    """Make the estimator that the parameters name."""
    try:
        kind = load_obj(model.estimator)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Estimator {model.estimator!r} can't be imported: {error}. "
            "Correct the import path, or install the package that it is in."
        ) from error
    refusal = (
        f"{model.estimator!r} is not a classifier that gives probabilities. "
        "Name a class with `fit`, `predict` and `predict_proba`, such as "
        "sklearn.linear_model.LogisticRegression; some need an argument for it."
    )
    # Before the call: a path in the parameters must not run any function there is.
    if not isinstance(kind, type) or not hasattr(kind, "predict_proba"):
        raise ValueError(refusal)
    try:
        estimator = kind(**model.arguments)
    except TypeError as error:
        raise ValueError(
            f"{model.estimator} doesn't take these arguments: {error}. "
            f"Correct `arguments`, which are now {model.arguments}."
        ) from error
    # XGBoost keeps what it doesn't know here, and would train without it.
    unknown = getattr(estimator, "kwargs", None)
    if unknown:
        raise ValueError(
            f"{model.estimator} doesn't know the arguments {', '.join(map(repr, unknown))}. "
            "Correct or remove them in `arguments`."
        )
    # Some have it only with certain arguments, such as SVC with probability.
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(refusal)
    return estimator


def score_training(**predictions: Prediction) -> dict[str, dict[str, dict[str, float]]]:
    """Judge every candidate on the data it was trained on, to compare with the test set.

    Args:
        **predictions: What each candidate says of the training set.

    Returns:
        `{"train": {candidate: {metric: value}}}`.

    Example:
        >>> import numpy as np
        >>> truth = np.array([0, 1])
        >>> perfect = Prediction(truth, truth, np.eye(2), ("no", "yes"))
        >>> score_training(perfect=perfect)["train"]["perfect"]["f1"]
        1.0
    """
    return {"train": {name: score(prediction) for name, prediction in predictions.items()}}

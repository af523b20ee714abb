"""The nodes of the training pipeline."""

import inspect
from typing import Any

import pandas as pd
from kedro.utils import load_obj

from ..metrics import BINARY, Prediction, class_codes, score
from ..parameters import EstimatorParameters, SplitParameters


def split_data(
    measurements: pd.DataFrame, options: SplitParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the data at random, with the same share of each class in both sets.

    Args:
        measurements: Numeric features and the target; shape `(rows, features + 1)`.
        options: The target column, the share of test rows and the seed.

    Returns:
        The training and the test set. Rows keep their index. The target becomes categorical, with
        the categories in alphabetical order unless it was categorical before.

    Raises:
        ValueError: If the target is missing, incomplete or has fewer than two classes, if a feature
            is not numeric, or if a class has too few rows for both sets.

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
    """Refuse data that the candidates cannot be trained on."""
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
            f"The data has no column other than the target {target!r}. "
            "Add the columns to predict it from."
        )
    text = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
    if text:
        raise ValueError(
            f"Columns that are not numeric: {', '.join(map(repr, text))}. "
            "Convert them to numbers, or leave them out with "
            "`load_args: {usecols: [...]}` of `measurements` in conf/base/catalog.yml."
        )


def train_model(training_set: pd.DataFrame, target: str, model: EstimatorParameters) -> Any:
    """Train the classifier that the parameters name.

    It learns the classes as numbers, which every classifier accepts.

    Args:
        training_set: Numeric features and the categorical target; shape `(rows, features + 1)`.
        target: The column to predict.
        model: The estimator's import path and its keyword arguments.

    Returns:
        The fitted estimator.

    Raises:
        ValueError: If the estimator cannot be imported, is not a classifier with probabilities, or
            does not accept the arguments.

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
    """Create the estimator that the parameters name."""
    try:
        kind = load_obj(model.estimator)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"Estimator {model.estimator!r} cannot be imported: {error}. "
            "Correct the import path, or install its package."
        ) from error
    refusal = (
        f"{model.estimator!r} is not a classifier with probabilities. "
        "Name a class that has `fit`, `predict` and `predict_proba`, such as "
        "sklearn.linear_model.LogisticRegression. Some need an argument to have it."
    )
    # Before the call: a path in the parameters must not run just any function.
    if not isinstance(kind, type) or not hasattr(kind, "predict_proba"):
        raise ValueError(refusal)
    # A null takes back an argument of another estimator, and is a value of one of its own.
    own = inspect.signature(kind).parameters
    given = model.arguments or {}
    arguments = {name: given[name] for name in given if given[name] is not None or name in own}
    hint = (
        "Correct them in `arguments`, or leave out those of another estimator: all of them with "
        "`arguments=null`, one with `arguments.NAME=null`."
    )
    try:
        estimator = kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{model.estimator} does not accept the arguments {arguments}: {error}. {hint}"
        ) from error
    # XGBoost keeps unknown arguments here, and would train without them.
    unknown = getattr(estimator, "kwargs", None)
    if unknown:
        raise ValueError(
            f"{model.estimator} does not know the arguments {', '.join(map(repr, unknown))}. {hint}"
        )
    # Some have it only with certain arguments, such as SVC(probability=True).
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(refusal)
    return estimator


def score_training(**predictions: Prediction) -> dict[str, dict[str, dict[str, float]]]:
    """Score every candidate on the training set, to compare with the test set.

    Args:
        **predictions: Each candidate's predictions for the training set.

    Returns:
        `{"train": {candidate: {metric: value}}}`.
    """
    return {"train": {name: score(prediction) for name, prediction in predictions.items()}}

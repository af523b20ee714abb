"""How the data is divided: into training and test set, and the training set into folds."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from ..metrics import BINARY, METRICS
from ..parameters import ChoiceParameters, SplitParameters
from .preprocessing import column_kind

LOGGER = logging.getLogger(__name__)
Folds = list[tuple[np.ndarray, np.ndarray]]


def split_data(
    measurements: pd.DataFrame, options: SplitParameters, choice: ChoiceParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the data at random, with the same share of each class in both sets.

    Args:
        measurements: Features of any kind and the target; shape `(rows, columns)`.
        options: The target and its task, columns to leave out, the sizes and the seed.
        choice: The metric: what is wrong with it is said before anything is trained.

    Returns:
        The training and the test set, without rows that lack the target. Rows keep their index. A
        classification's target becomes categorical.

    Raises:
        ValueError: If the data cannot be trained on, or does not fit the parameters.
    """
    if choice.metric not in METRICS[options.task]:
        raise ValueError(
            f"choice.metric is {choice.metric!r}, which a {options.task} (split.task) does not "
            f"have. Choose from {', '.join(METRICS[options.task])}."
        )
    data = measurements.rename(columns=str)  # scikit-learn wants text
    for setting, names in {"target": [options.target], "leave_out": options.leave_out}.items():
        if unknown := [name for name in names if name not in data.columns]:
            raise ValueError(
                f"Column {unknown[0]!r} is not in the data, whose columns are "
                f"{', '.join(data.columns)}. "
                f"Correct split.{setting} in conf/base/parameters_training.yml."
            )
    data = _with_target(data, options)
    data = data.drop(columns=[name for name in options.leave_out if name != options.target])
    _check_features(data.drop(columns=options.target))
    ((training, test),) = _divide(data, options, "test_size")
    training_set, test_set = data.iloc[training], data.iloc[test]
    validation_folds(training_set, options)  # too few rows are refused before anything is trained
    return training_set, test_set


def validation_folds(training_set: pd.DataFrame, options: SplitParameters) -> Folds:
    """Give the positions of the rows to train on, and of those to validate with, for each fold."""
    return _divide(training_set, options, "validation")


def _with_target(data: pd.DataFrame, options: SplitParameters) -> pd.DataFrame:
    """Take the rows that have a target, and give it the type that suits the task."""
    name = options.target
    if missing := int(data[name].isna().sum()):
        message = "Column %r has no value in %d of %d rows, which are left out."
        LOGGER.warning(message, name, missing, len(data))
        data = data.dropna(subset=[name])
    if options.task == "classification":
        target = data[name].astype("category").cat.remove_unused_categories()
        if (classes := len(target.cat.categories)) < BINARY:
            raise ValueError(
                f"Column {name!r} has {classes} class(es), where at least two are needed. "
                "Set split.target to another column, or add rows of another class."
            )
    else:
        target = pd.to_numeric(data[name], errors="coerce").astype("float64")
        if not np.isfinite(target).all():
            raise ValueError(
                f"Column {name!r} has values that are not finite numbers, which a regression needs."
                " Correct them, or set split.task to classification."
            )
    return data.assign(**{name: target})


def _check_features(features: pd.DataFrame) -> None:
    """Refuse columns that a model cannot learn from, and warn of one that it would learn by heart."""
    if features.columns.empty:
        raise ValueError(
            "The data has no column other than the target. Add the columns to predict it from."
        )
    for name, values in features.items():
        kind, reason, text = column_kind(values), "", values.dropna().astype(str)
        if kind == "categories" and BINARY < len(text) == text.nunique():
            reason = "no text twice, like ids, so that nothing can be learnt from it. Leave"
        elif kind == "numbers" and np.isinf(pd.to_numeric(values).astype("float64")).any():
            reason = "infinite values. Correct them, or leave"
        elif pd.api.types.is_integer_dtype(values) and (values.diff().iloc[1:] == 1).all():
            LOGGER.warning("Column %r counts the rows. If it is an id, leave it out.", name)
        if reason:
            raise ValueError(
                f"Column {name!r} has {reason} the column out: add it to split.leave_out in "
                "conf/base/parameters_training.yml."
            )


def _divide(data: pd.DataFrame, options: SplitParameters, setting: str) -> Folds:
    """Divide rows by a share or a number of folds, so that all classes can be learnt and judged."""
    from sklearn import model_selection

    size, stratify = getattr(options, setting), options.task == "classification"
    target, random = data[options.target], {"random_state": options.seed}
    name = ("Stratified" if stratify else "") + ("ShuffleSplit" if size < 1 else "KFold")
    more: dict[str, Any] = {"test_size": size} if size < 1 else {"shuffle": True}
    splitter = getattr(model_selection, name)(1 if size < 1 else size, **more, **random)
    counts = target.value_counts()
    try:
        folds = [*splitter.split(data, np.asarray(target))]
        parts = [*(rows for rows, _ in folds), np.concatenate([rows for _, rows in folds])]
        complete = not stratify or all(target.iloc[p].nunique() == len(counts) for p in parts)
    except ValueError:  # too few rows for scikit-learn
        complete = False
    if not complete:
        subject, cures = "The data has", [f"change split.{setting}"]
        if stratify:
            rarest, rows = counts.index[-1], counts.iloc[-1]
            subject = f"Class {rarest!r} of column {options.target!r} has {rows} of"
            cures = [*(cures if rows > 1 else []), "leave that class out"]
            cures += ["set split.task to regression"] * pd.api.types.is_number(rarest)
        raise ValueError(
            f"{subject} {len(data)} rows, too few for split.{setting} {size}. "
            f"Add rows, or {', or '.join(cures)}."
        )
    return folds

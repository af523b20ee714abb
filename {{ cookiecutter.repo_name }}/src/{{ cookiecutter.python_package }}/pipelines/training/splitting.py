"""How the data is checked, and divided: into training and test set, and that one into folds."""

import logging
from typing import Any

import numpy as np
import pandas as pd

from ..metrics import BINARY, METRICS
from ..parameters import ChoiceParameters, SplitParameters
from .preprocessing import column_kind

LOGGER = logging.getLogger(__name__)
Folds = list[tuple[np.ndarray, np.ndarray]]

NEARLY_ALL, MONTHS = 0.9, 12
DATE = r"^([0-3]?\d)[./-][0-3]?\d[./-](?:\d{4}|\d\d)(?:\s|$)"
COMMAS = {  # in numbers, and how pandas reads them
    r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?": {"thousands": ","},
    r"[+-]?\d+,\d+": {"decimal": ","},
    r"[+-]?\d{1,3}(\.\d{3})*,\d+": {"decimal": ",", "thousands": "."},
}
LEAVE_OUT = "the column out: add it to split.leave_out in conf/base/parameters_training.yml"
CATALOG = "in the entry measurements of conf/base/catalog.yml"


def split_data(
    measurements: pd.DataFrame, options: SplitParameters, choice: ChoiceParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the data at random, with the same share of each class in both sets.

    What is wrong with the data or the parameters is said here, before anything is trained. Rows
    keep their index; those without a target are left out. A class becomes categorical.
    """
    if choice.metric not in METRICS[options.task]:
        raise ValueError(
            f"choice.metric is {choice.metric!r}, which a {options.task} (split.task) does not "
            f"have. Choose from {', '.join(METRICS[options.task])}."
        )
    data = measurements.rename(columns=str)  # scikit-learn wants text
    for setting, names in {"target": [options.target], "leave_out": options.leave_out}.items():
        if unknown := [name for name in names if name not in data.columns]:
            cure = f"Correct split.{setting} in conf/base/parameters_training.yml."
            if len(data.columns) == 1 and (found := set(";\t") & set(data.columns[0])):
                separator = repr(found.pop()).replace("'", '"')  # so that YAML takes \t for a tab
                cure = f"Set load_args: {{'sep': {separator}}} {CATALOG}."
            raise ValueError(
                f"Column {unknown[0]!r} is not in the data, whose columns are "
                f"{', '.join(data.columns)}. {cure}"
            )
    data = _with_target(data, options)
    data = data.drop(columns=[name for name in options.leave_out if name != options.target])
    _check_features(data.drop(columns=options.target), data[options.target])
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
    if data.empty:
        raise ValueError(f"The data has no rows{' with a target' if missing else ''}. Add some.")
    if options.task == "classification":
        target = data[name].astype("category").cat.remove_unused_categories()
        if len(target.cat.categories) < BINARY:
            raise ValueError(
                f"Column {name!r} has the same value in every row, where two classes are needed. "
                "Set split.target to another column, or add rows of another class."
            )
    else:
        target = pd.to_numeric(data[name], errors="coerce").astype("float64")
        if not np.isfinite(target).all():
            raise ValueError(
                _misread(name, data[name].astype(str))
                or f"Column {name!r} has values that are not finite numbers, which a regression "
                "needs. Correct them, or set split.task to classification."
            )
    return data.assign(**{name: target})


def _check_features(features: pd.DataFrame, target: pd.Series) -> None:
    """Refuse columns that a model cannot learn from, and warn of those it would learn wrongly."""
    if features.columns.empty:
        raise ValueError("The data has no column other than the target. Add what predicts it.")
    for name, values in features.items():
        kind, reason, text = column_kind(values), "", values.dropna().astype(str)
        misread = _misread(name, text) if kind == "categories" else ""
        if kind == "categories" and BINARY < len(text) == text.nunique():
            reason = misread or (
                f"Every text in column {name!r} is different, as in a column of ids, so nothing "
                f"can be learnt from it. Leave {LEAVE_OUT}."
            )
        elif misread:
            LOGGER.warning(misread)
        elif kind == "numbers" and np.isinf(pd.to_numeric(values).astype("float64")).any():
            reason = f"Column {name!r} has infinite values. Correct them, or leave {LEAVE_OUT}."
        elif len(text) == len(target) and values.to_list() == target.to_list():
            reason = f"Column {name!r} is a copy of the target. Leave {LEAVE_OUT}."
        elif pd.api.types.is_integer_dtype(values) and (values.diff().iloc[1:] == 1).all():
            LOGGER.warning("Column %r counts the rows. If it is an id, leave it out.", name)
        if reason:
            raise ValueError(reason)


def _misread(name: Any, text: pd.Series) -> str:
    """Say that nearly all of a text column are numbers or dates, and how to read it; or nothing."""
    if text.str.match(r"[+-]?\.?\d").mean() < NEARLY_ALL:
        return ""
    numbers = pd.to_numeric(text, errors="coerce").notna()
    first = text.str.extract(DATE)[0].astype("float64")
    order: Any = {"dayfirst": bool(first.max() > MONTHS)}
    dates = pd.to_datetime(text.where(first.notna()), "coerce", format="mixed", utc=True, **order)
    commas = [(text.str.fullmatch(pattern), load_args) for pattern, load_args in COMMAS.items()]
    for kind, are, load_args in (
        *(("numbers", are | (numbers & are.any()), load_args) for are, load_args in commas),
        ("numbers", numbers, {}),
        ("dates", text.str.match(r"\d{4}-\d\d-\d\d"), {}),
        ("dates", dates.notna(), {"parse_dates": [name], **order}),
    ):
        others = [*text[~are]]
        if are.mean() >= NEARLY_ALL and (load_args or others):
            cure = load_args | ({"na_values": others[:1]} if others else {})
            return (
                f"Column {name!r} has {kind} in {are.sum()} of {len(text)} rows, and is read as "
                f"text because of values such as {[*others, *text[~numbers]][0]!r}. "
                f"Correct them, or set load_args: {cure} {CATALOG}."
            )
    return ""


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
        rows = f"{len(data)} {'training ' if setting == 'validation' else ''}rows"
        subject, cures = f"There are {rows}", [f"change split.{setting}"]
        if stratify:
            rarest, count = counts.index[-1], counts.iloc[-1]
            subject = f"Class {rarest!r} of column {options.target!r} has {count} of the {rows}"
            cures = [*(cures if count > 1 else []), "remove its rows"]
            cures += ["set split.task to regression"] * pd.api.types.is_number(rarest)
        raise ValueError(
            f"{subject}, too few for split.{setting} {size}. Add rows, or {', or '.join(cures)}."
        )
    return folds

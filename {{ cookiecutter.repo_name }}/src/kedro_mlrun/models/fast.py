"""A model of scikit-learn or XGBoost asked without what joblib and pandas cost for a few rows.

What is made here answers as the model does for rows of finite numbers, or isn't used: whoever loads
a model compares them first.
"""

import ctypes
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[np.ndarray], np.ndarray]
Quick = Callable[[np.ndarray], tuple[Any, Any]]
"""Gives predictions and probabilities (None of a regression) for a matrix."""
FINITE32 = np.finfo(np.float32).max


def quick(model: Any) -> Quick | None:
    """Make what asks a model directly, or None for one that isn't known here."""
    before: list[Any] = []
    if _is(model, "sklearn.Pipeline"):
        *before, (_, model) = model.steps
    steps = [_transform(step) for _, step in before]
    answer = _answer(model)
    if answer is None or None in steps:
        return None
    return lambda rows: answer(_through(steps, rows))


def _is(model: Any, *names: str) -> bool:
    """Tell whether an object is of one of these very classes, wherever in the library they are."""
    kind = type(model)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in names


def _transform(step: Any) -> Step | None:
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return lambda rows: rows
    if _is(step, "sklearn.Pipeline"):
        made = [_transform(inner) for _, inner in step.steps]
        return None if None in made else lambda rows: _through(made, rows)
    if _is(step, "sklearn.FunctionTransformer") and not step.validate:
        function, arguments = step.func, step.kw_args or {}
        return (lambda rows: function(rows, **arguments)) if function else lambda rows: rows
    if _is(step, "sklearn.SimpleImputer") and np.asarray(step.statistics_).dtype.kind == "f":
        return _imputer(step)
    if _is(step, "sklearn.StandardScaler"):
        mean, scale = step.mean_ if step.with_mean else 0.0, step.scale_ if step.with_std else 1.0
        return lambda rows: (rows - mean) / scale
    return _columns(step) if _is(step, "sklearn.ColumnTransformer") else None


def _through(steps: list[Any], rows: np.ndarray) -> np.ndarray:
    for step in steps:
        rows = step(rows)
    return rows


def _imputer(step: Any) -> Step | None:
    if np.isnan(step.statistics_).any() and not step.keep_empty_features:
        return None  # it drops columns
    # Of what is not missing, the columns that tell what was missing are 0.
    added = len(step.indicator_.features_) if step.indicator_ is not None else 0
    if not added:
        return lambda rows: rows
    return lambda rows: np.hstack([rows, np.zeros((len(rows), added))])


def _columns(step: Any) -> Step | None:
    """Make a ColumnTransformer whose columns are known by their positions or names."""
    if step.transformer_weights:
        return None
    names = [*map(str, getattr(step, "feature_names_in_", ()))]
    parts = []
    for _, inner, columns in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        found = [columns] if isinstance(columns, str | int) else [*columns]
        if not found:
            continue
        if any(isinstance(column, bool | np.bool_) for column in found) or isinstance(columns, str):
            return None
        at = [names.index(column) if isinstance(column, str) else int(column) for column in found]
        if not (made := _transform(inner)):
            return None
        parts.append((at, made))
    if len(parts) == 1 and parts[0][0] == [*range(step.n_features_in_)]:
        return parts[0][1]
    return lambda rows: np.hstack([made(rows[:, at]) for at, made in parts])


def _answer(model: Any) -> Quick | None:
    if values := _values(model):
        return lambda rows: (values(rows), None)
    judge = model
    if _is(model, "sklearn.VotingClassifier"):
        if model.voting != "soft" or len(model.estimators_) != 1 or model.weights is not None:
            return None
        # The mean of one is itself; the vote is for the first of the most probable.
        judge = model.estimators_[0]
    if not (probabilities := _probabilities(judge)):
        return None

    def answer(rows: np.ndarray) -> tuple[Any, Any]:
        found = probabilities(rows)
        return model.classes_.take(found.argmax(axis=1)), found

    return answer


def _probabilities(model: Any) -> Step | None:
    forests = "sklearn.RandomForestClassifier", "sklearn.ExtraTreesClassifier"
    if _is(model, *forests) and model.n_outputs_ == 1:
        return _forest(model, lambda found: found[:, : model.n_classes_])
    if _is(model, "xgboost.XGBClassifier") and (values := _booster(model)):
        if model.n_classes_ != 2 or model.objective != "binary:logistic":  # noqa: PLR2004
            return values if model.objective == "multi:softprob" else None
        return lambda rows: np.vstack((1.0 - (second := values(rows)), second)).transpose()
    return None


def _values(model: Any) -> Step | None:
    if _is(model, "sklearn.RandomForestRegressor", "sklearn.ExtraTreesRegressor"):
        return _forest(model, lambda found: found[:, 0]) if model.n_outputs_ == 1 else None
    return _booster(model) if _is(model, "xgboost.XGBRegressor") else None


def _forest(model: Any, part: Step) -> Step:
    """Add up the trees' answers in their order, as joblib does it with one job."""
    trees = [tree.tree_ for tree in model.estimators_]

    def answer(rows: np.ndarray) -> np.ndarray:
        if (np.abs(rows) > FINITE32).any():
            raise ValueError("Input X contains infinity or a value too large for dtype('float32')")
        rows = rows.astype(np.float32)
        total = np.zeros_like(part(trees[0].predict(rows)), order="C")
        for tree in trees:
            total += part(tree.predict(rows))
        total /= len(trees)
        return total

    return answer


def _booster(model: Any) -> Step | None:
    """Ask XGBoost's C interface itself, for which its Python needs twice as long as it does."""
    if not model._can_use_inplace_predict():
        return None
    from xgboost.core import _LIB

    booster, (begin, end) = model.get_booster(), model._get_iteration_range(None)
    options: dict[str, Any] = {"type": 0, "training": False, "strict_shape": False, "cache_id": 0}
    options |= {"iteration_begin": begin, "iteration_end": end, "missing": model.missing}
    config, missing = json.dumps(options).encode(), ctypes.c_void_p()

    def answer(rows: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(rows)
        array = {"data": [rows.ctypes.data, True], "shape": rows.shape, "typestr": "<f8"}
        text = json.dumps({**array, "version": 3, "strides": None}).encode()
        shape, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        count = ctypes.c_uint64()
        told = map(ctypes.byref, (shape, count, found))
        if _LIB.XGBoosterPredictFromDense(booster.handle, text, config, missing, *told):
            raise ValueError("XGBoost can't answer these rows")
        lengths = shape[: count.value]
        # A copy: XGBoost writes the next answer there, too.
        return np.ctypeslib.as_array(found, (math.prod(lengths),)).reshape(lengths).copy()

    return answer

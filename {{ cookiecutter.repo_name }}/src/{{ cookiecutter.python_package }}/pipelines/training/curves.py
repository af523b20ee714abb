"""Learning curves of boosted models."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..metrics import Prediction, measure, predict
from ..parameters import Metric, SplitParameters
from .splitting import validation_folds

MOST_POINTS = 100
SETS = ("train", "validation")


def learning_curve(
    models: list[Any], training_set: pd.DataFrame, options: SplitParameters
) -> pd.DataFrame:
    """Compute the loss on the training and the validation rows, by boosting round.

    The rounds are replayed on fitted models. With `eval_set`, the validation rows would influence
    training as soon as someone sets `early_stopping_rounds`.

    The columns are means over the folds; the index is the round, of at most 100 at equal distances.
    The frame is empty for models that do not learn in rounds.
    """
    curves = []
    for model, fold in zip(models, validation_folds(training_set, options), strict=True):
        parts = {name: training_set.iloc[rows] for name, rows in zip(SETS, fold, strict=True)}
        losses = {name: dict(_losses(model, part, options)) for name, part in parts.items()}
        curves.append(pd.DataFrame(losses, columns=SETS, dtype="float64"))
    curve = pd.concat(curves).groupby(level=0).mean()
    curve.index = curve.index.astype("int64")
    loss = "log loss" if options.task == "classification" else "rmse"
    return curve.rename_axis(index="round", columns=loss)


def _losses(
    model: Any, data: pd.DataFrame, options: SplitParameters
) -> Iterator[tuple[int, float]]:
    """Yield rounds and the loss after each."""
    whole = predict(model, data, options)
    estimator = model[-1].estimators_[0] if whole.classes else model[-1]
    method = "predict_proba" if whole.classes else "predict"
    metric: Metric = "log_loss" if whole.classes else "rmse"
    for number, answers in _stages(estimator, model[:-1].transform(data), method):
        prediction = Prediction(whole.actual, answers, answers, whole.classes)
        yield number, measure(prediction, metric)


def _stages(model: Any, features: np.ndarray, method: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield rounds and the answers after each."""
    if hasattr(model, f"staged_{method}"):
        # The number of stages is known only at the end.
        stages = list(getattr(model, f"staged_{method}")(features))
        yield from ((number, stages[number - 1]) for number in _chosen(len(stages)))
    elif hasattr(model, "get_booster") and model.get_params().get("booster") != "gblinear":
        # A linear model would return its last state for any round.
        model = copy.deepcopy(model)
        # In many short calls, threads cost more than they save.
        model.get_booster().set_param({"nthread": 1})
        for number in _chosen(model.get_booster().num_boosted_rounds()):
            yield number, getattr(model, method)(features, iteration_range=(0, number))


def _chosen(rounds: int) -> list[int]:
    """Choose rounds at equal distances, so that the curve takes no longer than the training."""
    return [*map(int, np.linspace(1, rounds, min(rounds, MOST_POINTS)).round())]

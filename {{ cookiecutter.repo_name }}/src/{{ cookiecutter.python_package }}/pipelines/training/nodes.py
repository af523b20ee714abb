"""The nodes of the training pipeline that train the candidates and choose the best."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ..metrics import LOWEST_IS_BEST, Prediction, measure, predict, score
from ..parameters import ChoiceParameters, EstimatorParameters, SplitParameters
from .estimators import make_estimator
from .preprocessing import make_preprocessing
from .splitting import validation_folds

RESAMPLES = 200
TAILS = (0.025, 0.975)  # of a 95 % interval


def train_model(
    training_set: pd.DataFrame, options: SplitParameters, model: EstimatorParameters
) -> Any:
    """Train the estimator that the parameters name, after a preprocessing that fits the columns.

    The fitted Pipeline takes frames with the features in any order, and answers with class names.

    Example:
        >>> data = pd.DataFrame({"x": [0, 1], "kind": ["a", "b"]})
        >>> tree = EstimatorParameters(estimator="sklearn.tree.DecisionTreeClassifier")
        >>> train_model(data, SplitParameters(target="kind"), tree).predict(data[["x"]])
        array(['a', 'b'], dtype=object)
    """
    from sklearn.ensemble import VotingClassifier
    from sklearn.pipeline import Pipeline

    features, target = training_set.drop(columns=options.target), training_set[options.target]
    estimator = make_estimator(model, options.task)
    if options.task == "classification":
        # XGBoost learns numbers only. A vote of one numbers the classes, and answers with names.
        estimator = VotingClassifier([("estimator", estimator)], voting="soft")
    steps = [("preprocessing", make_preprocessing(features)), ("estimator", estimator)]
    return Pipeline(steps).fit(features, np.asarray(target))


def validate(
    training_set: pd.DataFrame, options: SplitParameters, model: EstimatorParameters
) -> Iterator[tuple[list[Any], Prediction]]:
    """Train a model for each fold on the other rows, and predict the rows of the fold.

    Yields:
        The models and predictions so far, for a search that ends bad trials early.
    """
    models, found = list[Any](), list[Prediction]()
    for training, validation in validation_folds(training_set, options):
        models.append(train_model(training_set.iloc[training], options, model))
        found.append(predict(models[-1], training_set.iloc[validation], options))
        names = ("actual", "predicted", "probabilities")
        parts = {name: np.concatenate([getattr(each, name) for each in found]) for name in names}
        yield [*models], Prediction(**parts, classes=found[0].classes)


def rank_candidates(
    options: ChoiceParameters, **predictions: Prediction
) -> tuple[str, dict[str, dict[str, float | str]], pd.DataFrame]:
    """Rank the candidates by the chosen metric on validation rows, with bootstrap intervals.

    Returns:
        The best candidate's name; its score, tied with those whose difference to it may be chance;
        and the leaderboard, ties by name. If all resamples score the same, there is no interval.
    """
    from sklearn.utils import resample

    metric, sign = options.metric, -1 if options.metric in LOWEST_IS_BEST else 1
    first = next(iter(predictions.values()))
    rows, classes = np.arange(len(first.actual)), first.actual if first.classes else None
    resamples = [resample(rows, stratify=classes, random_state=n) for n in range(RESAMPLES)]
    samples = {
        name: np.array([measure(prediction.take(some), metric) for some in resamples])
        for name, prediction in predictions.items()
    }
    table = []
    for name, prediction in predictions.items():
        low, high = np.quantile(samples[name], TAILS)
        if np.isclose(low, high, rtol=1e-9, atol=0):  # of a perfect score, resamples tell nothing
            low = high = np.nan
        table.append({"candidate": name, **score(prediction), "low": low, "high": high})
    leaderboard = pd.DataFrame(table).sort_values(
        [metric, "candidate"], ascending=[sign < 0, True], ignore_index=True
    )
    best, *others = leaderboard["candidate"]
    tied = [o for o in others if np.quantile(sign * (samples[best] - samples[o]), TAILS[0]) <= 0]
    decided = leaderboard.loc[0, [metric, "low", "high"]].dropna().astype(float).to_dict()
    return best, {"best_score": {**decided, "tied_with": ", ".join(tied) or "none"}}, leaderboard


def choose_model(best_model: str, **models: Any) -> Any:
    """Give the model of the candidate that was best on validation rows."""
    return models[best_model]

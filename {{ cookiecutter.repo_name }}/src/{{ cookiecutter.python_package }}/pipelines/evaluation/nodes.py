"""The nodes of the evaluation pipeline; `plots.py` has those that draw."""

import pandas as pd

from ..metrics import Prediction, score
from ..parameters import EvaluationParameters


def score_test(**predictions: Prediction) -> dict[str, dict[str, dict[str, float]]]:
    """Score every candidate on the test set.

    Args:
        **predictions: Each candidate's predictions for the test set.

    Returns:
        `{"test": {candidate: {metric: value}}}`.
    """
    return {"test": {name: score(prediction) for name, prediction in predictions.items()}}


def rank_candidates(
    metrics: dict[str, dict[str, dict[str, float]]], options: EvaluationParameters
) -> tuple[str, dict[str, dict[str, float]], pd.DataFrame]:
    """Rank the candidates by the configured metric.

    Args:
        metrics: What `score_test` returns.
        options: The metric to rank by.

    Returns:
        The best candidate's name; what decided, `{"best_score": {metric: value}}`; and the
        leaderboard: a row per candidate, the best first (ties by name), with the columns
        `candidate` and each metric.

    Example:
        >>> metrics = {"test": {"a": {"log_loss": 0.7}, "b": {"log_loss": 0.2}}}
        >>> rank_candidates(metrics, EvaluationParameters(metric="log_loss"))[:2]
        ('b', {'best_score': {'log_loss': 0.2}})
    """
    rows = [{"candidate": name, **values} for name, values in metrics["test"].items()]
    lowest_first = options.metric == "log_loss"
    leaderboard = pd.DataFrame(rows).sort_values(
        [options.metric, "candidate"], ascending=[lowest_first, True], ignore_index=True
    )
    best = str(leaderboard["candidate"].iloc[0])
    return (
        best,
        {"best_score": {options.metric: metrics["test"][best][options.metric]}},
        leaderboard,
    )

"""Drift as the monitoring pipeline measures it: MLRun's distances, and how often chance alarms."""

import numpy as np
import pandas as pd
from helpers import project_module
from mlrun.model_monitoring.metrics.histogram_distance import (
    HellingerDistance,
    TotalVarianceDistance,
)

distances = project_module("pipelines.monitoring.distances")


def test_distances_are_mlruns() -> None:
    """Law 6: what MLRun's monitoring would say of the same histograms, also of empty cells."""
    counts = np.random.default_rng(0).poisson(3, size=(2, 50, 13))
    hellinger, total_variation = distances.distances(*counts)
    for number, (t, u) in enumerate(zip(*counts, strict=True)):
        shares = {"distrib_t": t / t.sum(), "distrib_u": u / u.sum()}
        assert hellinger[number] == HellingerDistance(**shares).compute()
        assert total_variation[number] == TotalVarianceDistance(**shares).compute()


def normal_counts(seed: int, rows: int, shift: float = 0) -> np.ndarray:
    """Count 30 features of a reference and of new rows, where two features may be shifted."""
    random = np.random.default_rng([seed, rows])
    old, new = random.normal(size=(400, 30)), random.normal(size=(rows, 30))
    new[:, :2] += shift
    edges = np.quantile(old, np.arange(1, 10) / 10, axis=0)[:, None]
    cells = [(edges < values).sum(axis=0)[..., None] for values in (old, new)]
    return np.stack([(each == np.arange(10)).sum(axis=0) for each in cells], axis=1)


def drifted(counts: np.ndarray) -> list[int]:
    found = distances.distances(counts[:, 0], counts[:, 1])[0] > distances.chance_thresholds(counts)
    return [*map(int, np.flatnonzero(found))]


def test_chance_seldom_alarms() -> None:
    """Of a hundred batches without drift, with 30 features, at most five."""
    alarms = [bool(drifted(normal_counts(seed, rows=50 + 5 * seed))) for seed in range(100)]
    assert sum(alarms) <= 5


def test_two_shifted_features_are_found() -> None:
    """By a standard deviation, in a few hundred rows: these two and no others."""
    found = [drifted(normal_counts(seed, rows=200, shift=1)) for seed in range(20)]
    assert sum(each == [0, 1] for each in found) >= 19


def test_values_are_counted_where_they_belong() -> None:
    """As numpy's histogram over the reference's bins; what is missing or new counts for itself."""
    old = pd.Series(np.random.default_rng(0).normal(size=100))
    new = pd.Series([-9.0, 9.0, np.nan, *old[:7]])
    counts = distances.count_values([old, new], "numbers")
    edges = [-np.inf, *old.quantile(np.arange(1, 10) / 10), np.inf]
    assert counts[0].tolist() == [10] * 10 + [0] * 3
    assert counts[1, :10].tolist() == np.histogram(new.dropna(), edges)[0].tolist()
    assert counts[1, distances.MISSING] == 1
    few = distances.count_values([pd.Series([1, 1, 2]), pd.Series([2, 3, None])], "numbers")
    cells = [0, 1, distances.UNSEEN, distances.MISSING]
    assert few[:, cells].tolist() == [[2, 1, 0, 0], [0, 1, 1, 1]]
    texts = [pd.Series([*"aabc"], dtype=object), pd.Series(["a", "d", None], dtype=object)]
    few = distances.count_values(texts, "categories")
    assert few[:, [0, distances.UNSEEN, distances.MISSING]].tolist() == [[2, 0, 0], [1, 1, 1]]

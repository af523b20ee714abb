"""How far new rows are from those that the model was trained on, and whether that is chance."""

from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.plots import COLOURS, escape, new_figure
from ..inference.nodes import take_features
from ..parameters import MonitoringParameters
from ..training.preprocessing import feature_kinds
from .distances import MISSING, UNSEEN, chance_thresholds, count_values, distances


def measure_drift(
    model: Any,
    training_set: pd.DataFrame,
    test_set: pd.DataFrame,
    new_measurements: pd.DataFrame,
    options: MonitoringParameters,
) -> pd.DataFrame:
    """Compare features with the training set, and predictions with those of the test set.

    For the training set they would differ from any others, because the model knows its rows.

    Returns:
        The features, the worst first. Distances are from 0 to 1; without enough rows to judge, the
        `threshold` of `hellinger` is NaN; shares of missing and unseen values.
    """
    rows, kinds = take_features(model, new_measurements), feature_kinds(model)
    pairs = {name: [training_set[name], rows[name]] for name in kinds}
    pairs["prediction"] = [pd.Series(model.predict(data[[*rows]])) for data in (test_set, rows)]
    kinds["prediction"] = "categories" if hasattr(model, "classes_") else "numbers"
    names = [name for name in kinds if name not in options.leave_out]
    counts = np.array([count_values(pairs[name], kinds[name]) for name in names])
    hellinger, total_variation = distances(counts[:, 0], counts[:, 1])
    threshold = chance_thresholds(counts).clip(min=options.smallest_distance)
    if counts.sum(axis=2).min() < options.fewest_rows:
        threshold[:] = np.nan
    shares = counts / counts.sum(axis=2, keepdims=True)
    table = {"feature": names, "hellinger": hellinger, "total_variation": total_variation}
    table |= {"threshold": threshold, "drifted": hellinger > threshold}
    table |= {"missing_before": shares[:, 0, MISSING], "missing_now": shares[:, 1, MISSING]}
    order = np.argsort(-hellinger / np.nan_to_num(threshold, nan=1), kind="stable")
    found = pd.DataFrame({**table, "unseen_now": shares[:, 1, UNSEEN]})
    return found.iloc[order].reset_index(drop=True)


def report_drift(drift_table: pd.DataFrame) -> tuple[Any, dict[str, dict[str, Any]]]:
    """Plot the worst features, and sum up: the worst one decides, for a mean would hide it."""
    worst, drifted = drift_table.iloc[0], int(drift_table["drifted"].sum())
    state = "drift" if drifted else "too small" if pd.isna(worst["threshold"]) else "no drift"
    found = {"found": drifted > 0, "state": state, "features": drifted}
    found |= {"worst_feature": worst["feature"], "distance": float(worst["hellinger"])}
    found |= {} if state == "too small" else {"threshold": float(worst["threshold"])}

    shown = drift_table.head(20).iloc[::-1]
    title = f"{state.capitalize()}: {drifted} of {len(drift_table)} features drifted, worst first"
    figure, axes = new_figure(title, 8, 1.8 + 0.3 * len(shown))
    colours = [COLOURS[int(each)] for each in shown["drifted"]]
    axes.barh([escape(name[:40]) for name in shown["feature"]], shown["hellinger"], color=colours)
    axes.plot(shown["threshold"], range(len(shown)), "k|", ms=13, mew=2, label="threshold")
    axes.set(xlabel="Hellinger distance from the training set\n(0: alike, 1: nothing in common)")
    axes.set_xlim(0, max(0.5, 1.05 * np.nanmax(shown[["hellinger", "threshold"]])))
    axes.legend(loc="lower right", frameon=False)
    return figure, {"drift": found}


def fail_on_drift(drift: dict[str, dict[str, Any]], options: MonitoringParameters) -> None:
    """Fail the run if there is drift and the parameters say so; its results are saved by then."""
    if (found := drift["drift"])["found"] and options.fail_on_drift:
        raise ValueError(
            f"new_measurements has drifted in {found['worst_feature']!r} most: its distance is "
            f"{found['distance']:.2f}, the threshold {found['threshold']:.2f}. Features with drift: "
            f"{found['features']}. Look at drift_plot, and train again with newer data."
        )

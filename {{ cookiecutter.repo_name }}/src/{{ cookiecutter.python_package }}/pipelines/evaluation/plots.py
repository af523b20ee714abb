"""The plots of the evaluation pipeline; the catalog decides their format.

Each yields a figure, or none if it is for the other task. `pyplot` would keep them between nodes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..metrics import BINARY, Prediction, measure

COLOURS = ("#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#b08900", "#555555")


def plot_roc_curve(**predictions: Prediction) -> Iterator[Any]:
    """Plot the ROC curves of all candidates; the title says of which classes."""
    classes = next(iter(predictions.values())).classes
    if not classes:
        return
    subject = f"mean of {len(classes)} classes, each against the rest"
    if len(classes) == BINARY:
        subject = f"{escape(classes[1])} against {escape(classes[0])}"
    figure, axes = new_figure(f"ROC curve on the test set\n{subject}")
    axes.set(xlabel="False positive rate", ylabel="True positive rate")
    for number, (name, prediction) in enumerate(predictions.items()):
        look: Any = {"color": COLOURS[number % len(COLOURS)], "linestyle": ("-", "--")[number % 2]}
        label = f"{escape(name)} (AUC {measure(prediction, 'roc_auc'):.4f})"
        axes.plot(*_roc_points(prediction), **look, linewidth=2, label=label)
    axes.plot([0, 1], [0, 1], color="#999999", linestyle=":", zorder=1, label="chance (AUC 0.5)")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc="lower right", frameon=False)
    yield figure


def plot_confusion_matrix(best_model: str, **predictions: Prediction) -> Iterator[Any]:
    """Plot the confusion matrix of the best candidate: rows, and share of the actual class."""
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    prediction = predictions[best_model]
    if not prediction.classes:
        return
    names = [escape(name) for name in prediction.classes]
    counts = confusion_matrix(prediction.actual, prediction.predicted, labels=range(len(names)))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)

    title = f"Confusion matrix of {escape(best_model)} on the test set"
    side = min(4 + 0.6 * len(names), 20)
    figure, axes = new_figure(f"{title}\nrows, and share of the actual class", side, side)
    display = ConfusionMatrixDisplay(shares, display_labels=names)
    display.plot(ax=axes, cmap="Blues", im_kw={"vmin": 0, "vmax": 1}, colorbar=False)
    axes.tick_params(axis="x", labelrotation=45 if len(names) > BINARY else 0)
    for cell, text in np.ndenumerate(display.text_):
        text.set_text(f"{counts[cell]}\n{shares[cell]:.1%}")
    yield figure


def plot_predictions(**predictions: Prediction) -> Iterator[Any]:
    """Plot what each candidate predicts against the actual numbers."""
    yield from _plot_errors("actual_vs_predicted", "Predictions", predictions)


def plot_residuals(best_model: str, **predictions: Prediction) -> Iterator[Any]:
    """Plot how far the best candidate's predictions are from the actual numbers."""
    of_best = {best_model: predictions[best_model]}
    yield from _plot_errors("residual_vs_predicted", f"Residuals of {escape(best_model)}", of_best)


def _plot_errors(kind: str, title: str, predictions: dict[str, Prediction]) -> Iterator[Any]:
    from sklearn.metrics import PredictionErrorDisplay

    if any(prediction.classes for prediction in predictions.values()):
        return
    figure, axes = new_figure(f"{title} on the test set")
    for number, (name, prediction) in enumerate(predictions.items()):
        look = {"label": escape(name), "color": COLOURS[number % len(COLOURS)]}
        display = PredictionErrorDisplay(y_true=prediction.actual, y_pred=prediction.predicted)
        display.plot(ax=axes, kind=kind, scatter_kwargs=look)
    axes.legend(frameon=False)
    yield figure


def new_figure(title: str, width: float = 6.2, height: float = 6.2) -> tuple[Any, Any]:
    """Make a figure with a title, of so many inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, color="#333333", pad=12)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _roc_points(prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Return the false and true positive rates, each of shape `(points,)`."""
    from sklearn.metrics import roc_curve

    classes = len(prediction.classes)
    curves = [
        roc_curve(prediction.actual == number, prediction.probabilities[:, number])[:2]
        for number in ([1] if classes == BINARY else range(classes))
    ]
    if len(curves) == 1:
        return curves[0]
    grid = np.unique(np.concatenate([false for false, _ in curves]))
    mean = np.mean([np.interp(grid, false, true) for false, true in curves], axis=0)
    return np.r_[0, grid], np.r_[0, mean]


def escape(name: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return name.replace("$", r"\$")

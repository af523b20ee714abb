"""The plots of the evaluation pipeline; the catalog decides their format.

They are drawn on figure objects, because `matplotlib.pyplot` keeps state between nodes and may need
a display.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import BINARY, Prediction, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#b08900", "#555555")
INK = "#333333"


def plot_roc_curve(**predictions: Prediction) -> Any:
    """Plot the ROC curves of all candidates.

    With two classes, a curve is that of the last class; with more, it is the mean of the curves of
    each class against the rest.

    Args:
        **predictions: Each candidate's predictions for the test set.

    Returns:
        A figure with a line for each candidate.

    Example:
        >>> truth = np.array([0, 1])
        >>> perfect = Prediction(truth, truth, np.eye(2), ("no", "yes"))
        >>> [line.get_label() for line in plot_roc_curve(perfect=perfect).axes[0].lines]
        ['perfect (AUC 1.0000)', 'chance (AUC 0.5)']
    """
    figure, axes = _figure(6.4, 6)
    for number, (name, prediction) in enumerate(predictions.items()):
        auc = score(prediction)["roc_auc"]
        axes.plot(
            *_roc_points(prediction),
            color=COLOURS[number % len(COLOURS)],
            linestyle=("-", "--")[number % 2],
            linewidth=2,
            label=f"{_text(name)} (AUC {auc:.4f})",
        )
    axes.plot([0, 1], [0, 1], color="#999999", linestyle=":", zorder=1, label="chance (AUC 0.5)")
    classes = next(iter(predictions.values())).classes
    if len(classes) == BINARY:
        subject = f"{_text(classes[1])} against {_text(classes[0])}"
    else:
        subject = f"mean of {len(classes)} classes, each against the rest"
    axes.set_title(f"ROC curve on the test set\n{subject}", color=INK, pad=12)
    axes.set_xlabel("False positive rate", color=INK)
    axes.set_ylabel("True positive rate", color=INK)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    return figure


def plot_confusion_matrix(best_model: str, **predictions: Prediction) -> Any:
    r"""Plot the confusion matrix of the best candidate.

    Args:
        best_model: The name of that candidate.
        **predictions: Each candidate's predictions for the test set.

    Returns:
        A figure; each cell shows a number of rows and their share of the actual class.

    Example:
        >>> truth = np.array([0, 1])
        >>> perfect = Prediction(truth, truth, np.eye(2), ("no", "yes"))
        >>> figure = plot_confusion_matrix("perfect", perfect=perfect)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1\n100.0%', '0\n0.0%', '0\n0.0%', '1\n100.0%']
    """
    from sklearn.metrics import confusion_matrix

    prediction = predictions[best_model]
    names = [_text(name) for name in prediction.classes]
    counts = confusion_matrix(prediction.actual, prediction.predicted, labels=range(len(names)))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)

    side = min(4 + 0.6 * len(names), 20)  # inches
    figure, axes = _figure(side, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axes.text(
            column,
            row,
            f"{count}\n{share:.1%}",
            ha="center",
            va="center",
            color="white" if share > 0.5 else INK,  # noqa: PLR2004
            fontsize=14 if len(names) == BINARY else 10,
        )
    axes.set_xticks(range(len(names)), names)
    if len(names) > BINARY:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(
        f"Confusion matrix of {_text(best_model)} on the test set\n"
        "rows, and share of the actual class",
        color=INK,
        pad=12,
    )
    axes.set_xlabel("Predicted", color=INK)
    axes.set_ylabel("Actual", color=INK)
    axes.tick_params(length=0)
    # White lines between the cells.
    edges = np.arange(1, len(names)) - 0.5
    axes.vlines(edges, -0.5, len(names) - 0.5, color="white", linewidth=2)
    axes.hlines(edges, -0.5, len(names) - 0.5, color="white", linewidth=2)
    axes.spines[:].set_visible(False)
    return figure


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Create a figure; the sizes are in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    return figure, figure.subplots()


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


def _text(name: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return name.replace("$", r"\$")

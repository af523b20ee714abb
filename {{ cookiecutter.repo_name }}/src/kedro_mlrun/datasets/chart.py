"""Line charts as PNG files."""

import io
import warnings
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError

LONGEST_LEGEND = 40
ROWS_OF_LEGEND = 20
FEW_POINTS = 30
# Beyond this, Matplotlib's own arithmetic overflows.
LARGEST_DRAWN = 1e300


def draw_lines(frame: pd.DataFrame, title: str) -> bytes:
    """Draw a line for each column over the index, through all values that are finite."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise DatasetError("its chart needs Matplotlib: pip install matplotlib") from None

    # A figure of its own: `matplotlib.pyplot` would keep it, and may want a screen.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    ordered = frame.sort_index()
    steps = ordered.index
    near = np.ones(len(steps), dtype=bool)
    if pd.api.types.is_numeric_dtype(steps):
        near = np.abs(steps.to_numpy(dtype="float64")) < LARGEST_DRAWN
    lines, drawn = [], 0
    for number in range(ordered.shape[1]):
        values = ordered.iloc[:, number].to_numpy(dtype="float64", na_value=np.nan)
        shown = near & (np.abs(values) < LARGEST_DRAWN)
        style = ("-", "--", ":", "-.")[number // 10 % 4]
        marker = "." if shown.sum() <= FEW_POINTS else None
        drawn += shown.sum()
        plot = axes.plot(steps[shown], values[shown], f"C{number % 10}", ls=style, marker=marker)
        lines += plot
    if not drawn:
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
    elif pd.api.types.is_integer_dtype(steps):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Names as they are: a dollar sign is no formula.
    plain: dict[str, Any] = {"parse_math": False}
    axes.set_title(title, pad=12, **plain)
    axes.set_xlabel(str(steps.name or "step"), **plain)
    axes.set_ylabel(str(frame.columns.name or "value"), **plain)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if 1 < len(lines) <= LONGEST_LEGEND:
        columns = 1 + (len(lines) - 1) // ROWS_OF_LEGEND
        names = [str(name) for name in ordered.columns]
        legend = figure.legend(
            lines, names, loc="outside right upper", frameon=False, ncols=columns
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    image = io.BytesIO()
    with mpl.rc_context({"agg.path.chunksize": 10_000}), warnings.catch_warnings():
        # About letters that the font lacks.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
    return image.getvalue()

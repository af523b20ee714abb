"""Line charts as PNG files."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pandas as pd

LONGEST_LEGEND = 40
ROWS_OF_LEGEND = 20
FEW_POINTS = 30
# Beyond this, Matplotlib's own arithmetic overflows.
LARGEST_DRAWN = 1e300


def draw_lines(frame: pd.DataFrame, title: str) -> bytes:
    r"""Draw a line for each column over the index.

    Missing and infinite values are left out, and a line goes on at the next value.

    Args:
        frame: columns of numbers; the index, numbers or dates, in any order. The index's name and
            that of the columns label the axes.
        title: the title, shown as it is.

    Returns:
        A PNG file of about 960 by 540 pixels.

    Example:
        >>> draw_lines(pd.DataFrame({"train": [0.7, 0.4], "test": [0.7, 0.5]}), "loss")[:4]
        b'\x89PNG'
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # A figure of its own: `matplotlib.pyplot` would keep it, and may want a screen.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    ordered = frame.sort_index()
    lines = []
    drawn = 0
    near = np.ones(len(ordered), dtype=bool)
    if pd.api.types.is_numeric_dtype(ordered.index):
        near = np.abs(ordered.index.to_numpy(dtype="float64")) < LARGEST_DRAWN
    for position in range(ordered.shape[1]):
        values = ordered.iloc[:, position].to_numpy(dtype="float64", na_value=np.nan)
        shown = near & (np.abs(values) < LARGEST_DRAWN)
        drawn += shown.sum()
        lines += axes.plot(
            ordered.index[shown],
            values[shown],
            color=f"C{position % 10}",
            linestyle=("-", "--", ":", "-.")[position // 10 % 4],
            marker="." if shown.sum() <= FEW_POINTS else None,
        )
    if not drawn:
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
    elif pd.api.types.is_integer_dtype(ordered.index):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Names as they are: a dollar sign is no formula.
    plain: dict[str, Any] = {"parse_math": False}
    axes.set_title(title, pad=12, **plain)
    axes.set_xlabel(str(frame.index.name or "step"), **plain)
    axes.set_ylabel(str(frame.columns.name or "value"), **plain)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if 1 < len(lines) <= LONGEST_LEGEND:
        legend = figure.legend(
            lines,
            [str(name) for name in ordered.columns],
            loc="outside right upper",
            frameon=False,
            ncols=1 + (len(lines) - 1) // ROWS_OF_LEGEND,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    picture = io.BytesIO()
    with mpl.rc_context({"agg.path.chunksize": 10_000}), warnings.catch_warnings():
        # Of letters that its font has not.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(picture, format="png", dpi=120, bbox_inches="tight")
    return picture.getvalue()

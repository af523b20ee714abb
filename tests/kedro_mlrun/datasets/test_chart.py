"""The line chart of a history."""

import warnings
from importlib import import_module
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib import figure, rcParams
from PIL import Image

draw_lines = import_module("kedro_mlrun.datasets.history").draw_lines

FRAMES = {
    "nothing": pd.DataFrame(),
    "no number": pd.DataFrame({"a": [np.nan, np.inf]}),
    "one number": pd.DataFrame({"a": [1]}),
    "extremes": pd.DataFrame({"a": [1.7e308, -1.7e308, 5e-324]}),
    "names": pd.DataFrame({"_hidden": [1, 2], "$x_^$": [2, 3], "\u96ea": [1, 1]}),
    "many": pd.DataFrame(np.eye(60)),
    "dates": pd.DataFrame({"a": [1, 2]}, index=pd.date_range("2026-01-01", periods=2, tz="UTC")),
}


@pytest.mark.parametrize("name", FRAMES)
def test_anything_can_be_drawn(name: str) -> None:
    """Any numbers and any names give a picture of a legible size, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = Image.open(BytesIO(draw_lines(FRAMES[name], "$title_")))
    image.verify()
    assert image.format == "PNG"
    assert min(image.size) > 400


def test_settings_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that draws at the same time in another thread draws as ever."""
    seen, subplots = list[object](), figure.Figure.subplots

    def look(self: figure.Figure, *args: object) -> object:
        seen.append(dict(rcParams))
        return subplots(self, *args)

    monkeypatch.setattr(figure.Figure, "subplots", look)
    draw_lines(FRAMES["names"], "loss")
    assert seen == [dict(rcParams)]


def test_lines_go_by_step() -> None:
    """The order of the rows makes no difference, their steps do."""
    frame = pd.DataFrame({"loss": [3.0, 2.0, 1.0]}, index=[1, 2, 9])
    picture = draw_lines(frame, "loss")
    assert picture == draw_lines(frame.iloc[[2, 0, 1]], "loss")
    assert picture != draw_lines(frame.reset_index(drop=True), "loss")

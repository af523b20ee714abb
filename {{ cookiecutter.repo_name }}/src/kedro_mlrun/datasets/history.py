"""Metrics over steps, as MLRun dataset artifacts with a chart."""

import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError
from pandas.api.types import is_integer_dtype

from ..store.rows import Record
from .abstract import MLRunAbstractDataset
from .dataframe import MLRunDataframeDataset

HISTORY = "kedro-mlrun-history"  # a name in a frame's `attrs`
NUMPY = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
TYPES: dict[str, Any] = {"int": int, "float": float, "none": NoneType}
TYPES |= {f"numpy.{name}": np.dtype(name).type for name in NUMPY}
NAMES = {type_: name for name, type_ in TYPES.items()}
FEW_POINTS, LONGEST_LEGEND = 30, 20
DRAWING = Lock()  # Python's filters of warnings are the whole process's.
LARGEST_DRAWN = 1e300  # Beyond this, Matplotlib's own arithmetic overflows.


class MLRunMetricHistory(MLRunDataframeDataset):
    """A metric over steps, as an MLRun dataset artifact with a line chart beside it.

    It is a list of numbers, a dict of such lists by name, a dict of numbers by step, or a data
    frame whose index is the step; loading gives back the same. The artifact is a table with a row
    for each step. The chart is a PNG file, an artifact of its own under the key `<key>.chart`. Its
    axes are labelled by the names of the frame's index and columns
    (`frame.rename_axis(columns="log loss")`). One that is called `time` is no metric: it tells when
    each step was, in seconds or as times, and `kedro mlrun ui` draws the others over it as well.

    Args:
        key: as for `MLRunAbstractDataset`, and so are `load_args`, `version` and `metadata`.
        save_args: as for `MLRunDataframeDataset`. The chart gets `tag`, `labels`, `artifact_path`
            and `db_key`, too.

    Example:
        ```yaml
        learning_curve:
          type: kedro_mlrun.MLRunMetricHistory
        ```

        ```python
        dataset = MLRunMetricHistory(key="learning_curve")
        dataset.save({"train": [0.69, 0.42, 0.31], "test": [0.69, 0.47, 0.40]})
        assert dataset.load() == {"train": [0.69, 0.42, 0.31], "test": [0.69, 0.47, 0.40]}
        ```
    """

    @contextmanager
    def _written(self, context: Any, data: Any) -> Iterator[Callable[[], Any]]:
        frame, image = _to_frame(data), b""
        metrics = frame.drop(columns="time", errors="ignore")
        metrics.astype("float64")  # which fails where values are no numbers
        try:
            image = draw_lines(metrics, self.key)
        except Exception as error:
            message = "'%s' is recorded without a chart, which can't be drawn: %s"
            logging.getLogger(__name__).warning(message, self.key, error)
        with super()._written(context, frame) as log, ExitStack() as charts:
            steps = [log]
            if image:
                shared = {"tag", "labels", "artifact_path"} & self._save_args.keys()
                save_args = {"format": "png", **{name: self._save_args[name] for name in shared}}
                save_args["db_key"] = f"{self._save_args.get('db_key') or self.key}.chart"
                chart = MLRunAbstractDataset(f"{self.key}.chart", None, save_args)
                steps.append(charts.enter_context(chart._written(context, image)))
            yield lambda: [step() for step in steps]

    def _read(self, artifact: Record) -> Any:
        frame = super()._read(artifact)
        notes = frame.attrs.pop(HISTORY, None)
        return _from_frame(frame, notes) if notes else frame


def _to_frame(data: Any) -> pd.DataFrame:
    """Make a history a frame, with notes of how to get the very same back."""
    if isinstance(data, pd.DataFrame):
        return data  # whose values are numbers if they can be drawn
    if type(data) is dict and all(type(name) is str for name in data):
        form, columns = "names", data
    elif type(data) is dict:
        form, columns = "steps", {"steps": list(data), "value": list(data.values())}
    else:
        form, columns = "list", {"value": data}
    notes: dict[str, Any] = {"form": form, "types": [_types(*item) for item in columns.items()]}
    series = dict[str, pd.Series]()
    for name, values in columns.items():
        # A column that is shorter than others is filled up with NaN.
        series[name] = pd.Series(np.array([math.nan if v is None else v for v in values]))
    frame = pd.DataFrame(series)
    frame.columns = frame.columns.astype(object)
    if form == "steps":
        notes["steps"], frame = notes["types"].pop(0), frame.set_index("steps")
    frame.index.name = None if "step" in frame else "step"
    frame.attrs[HISTORY] = notes
    if repr(_from_frame(frame, notes)) != repr(data):
        raise DatasetError(
            "an integer has over 64 bits, or over 53 beside fractions or missing values, and would "
            "come back changed; let the node return it as a float"
        )
    return frame


def _types(name: str, values: Any) -> list[Any]:
    """Give a list's length, and its values' type, or one for each value."""
    listed = type(values) is list
    for value in values if listed else [values]:
        if not listed or type(value) not in NAMES:
            raise DatasetError(
                f"'{name}' is or has a {type(value).__name__}, and a history is a list of numbers "
                "(int, float, None or NumPy's), a dict of such lists, a dict of numbers by step, "
                "or a frame of numbers; let the node convert it, or use MLRunResult or "
                "MLRunDataframeDataset, which draw nothing"
            )
    names = [NAMES[type(value)] for value in values]
    return [len(names), names[0] if len(set(names)) == 1 else names]


def _from_frame(frame: pd.DataFrame, notes: dict[str, Any]) -> Any:
    lists = [_restored(frame.iloc[:, number], types) for number, types in enumerate(notes["types"])]
    if notes["form"] == "names":
        return dict(zip(frame.columns, lists, strict=True))
    if notes["form"] == "steps":
        return dict(zip(_restored(frame.index, notes["steps"]), lists[0], strict=True))
    return lists[0]


def _restored(column: pd.Series | pd.Index, types: list[Any]) -> list[Any]:
    length, names = types
    names = [names] * length if isinstance(names, str) else names
    pairs = zip(names, np.asarray(column)[:length], strict=True)
    return [None if name == "none" else TYPES[name](value) for name, value in pairs]


def draw_lines(frame: pd.DataFrame, title: str) -> bytes:
    """Draw a line for each column over the index, through all values that are finite, as PNG."""
    try:
        from matplotlib import figure as figures
        from matplotlib import ticker
    except ImportError:
        raise DatasetError("its chart needs Matplotlib: pip install matplotlib") from None
    frame = frame.sort_index()
    # The warnings are about letters that the font lacks. Matplotlib's own settings stay as they
    # are, for a node in another thread may be drawing, too.
    with DRAWING, warnings.catch_warnings(action="ignore", category=UserWarning):
        # A figure of its own: `matplotlib.pyplot` would keep it, and may want a screen.
        figure, image = figures.Figure((8, 4.5), layout="constrained"), io.BytesIO()
        axes = figure.subplots()
        axes.grid(color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for number, (_, column) in enumerate(frame.astype("float64").items()):
            shown = column[column.abs() < LARGEST_DRAWN]
            style = ("-", "--", ":", "-.")[number // 10 % 4]
            marker = "." if len(shown) <= FEW_POINTS else None
            axes.plot(shown.index, shown, ls=style, marker=marker)
        if is_integer_dtype(frame.index):
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        # A dollar sign is no formula in these.
        axes.set_title(title, pad=12, parse_math=False)
        axes.set_xlabel(str(frame.index.name or "step"), parse_math=False)
        axes.set_ylabel(str(frame.columns.name or "value"), parse_math=False)
        if 1 < len(frame.columns) <= LONGEST_LEGEND:
            names = [*map(str, frame.columns)]
            legend = figure.legend(axes.lines, names, loc="outside right upper", frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)
        figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
    return image.getvalue()

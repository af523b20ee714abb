"""Metrics over steps, such as a loss by epoch, as MLRun datasets with a chart."""

import io
import math
import warnings
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError
from pandas.api.types import is_any_real_numeric_dtype, is_integer_dtype

from .abstract import MLRunAbstractDataset
from .dataframe import MLRunDataframeDataset

# The name in a frame's `attrs` of what tells how to make it a list or dict again.
HISTORY = "kedro-mlrun-history"
NUMPY = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
TYPES: dict[str, Any] = {"int": int, "float": float, "none": NoneType}
TYPES |= {f"numpy.{name}": np.dtype(name).type for name in NUMPY}
NAMES = {type_: name for name, type_ in TYPES.items()}
# Names are shown as they are: a dollar sign is no formula.
STYLE: Any = {"text.parse_math": False, "legend.frameon": False, "agg.path.chunksize": 10_000}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "#e6e6e6"}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
FEW_POINTS, LONGEST_LEGEND, ROWS_OF_LEGEND = 30, 40, 20
LARGEST_DRAWN = 1e300  # Beyond this, Matplotlib's own arithmetic overflows.


class MLRunMetricHistory(MLRunDataframeDataset):
    """A metric over steps, as an MLRun dataset artifact with a line chart beside it.

    It is a list of numbers, a dict of such lists by name, a dict of numbers by step, or a data
    frame whose index is the step; loading gives back the same. The artifact is a table with a row
    for each step. The chart is a PNG file, an artifact of its own under the key `<key>.chart`. Its
    axes are labelled by the names of the frame's index and columns
    (`frame.rename_axis(columns="log loss")`).

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

    def _log(self, context: Any, data: Any, temporary: Path) -> None:
        frame = _to_frame(data)
        # Drawn before anything is recorded, and recorded when the data is.
        image = draw_lines(frame, self.key)
        super()._log(context, frame, temporary)
        shared = {"tag", "labels", "artifact_path"} & self._save_args.keys()
        save_args = {"format": "png", **{name: self._save_args[name] for name in shared}}
        if "db_key" in self._save_args:
            save_args["db_key"] = f"{self._save_args['db_key']}.chart"
        MLRunAbstractDataset(f"{self.key}.chart", None, save_args)._log(context, image, temporary)

    def _read(self, artifact: Any) -> Any:
        frame = super()._read(artifact)
        notes = frame.attrs.pop(HISTORY, None)
        return _from_frame(frame, notes) if notes else frame


def _to_frame(data: Any) -> pd.DataFrame:
    """Make a history a frame, with notes of how to get the very same back."""
    if isinstance(data, pd.DataFrame):
        _check_frame(data)
        return data
    form, columns = "names", data
    if type(data) is list:
        form, columns = "list", {"value": data}
    elif type(data) is not dict:
        raise DatasetError(
            f"a history is a list, a dict or a data frame, and this is a {type(data).__name__}; "
            "let the node return one of those"
        )
    elif not all(type(name) is str for name in data):
        form, columns = "steps", {"steps": list(data), "value": list(data.values())}
    made = [_column(*item) for item in columns.items()]
    frame = pd.DataFrame({number: column for number, (column, _) in enumerate(made)})
    notes: dict[str, Any] = {"form": form, "types": [types for _, types in made]}
    for number, (name, values) in enumerate(columns.items()):
        # From the frame, where a column that is shorter than others has been filled up with NaN.
        for before, after in zip(values, _restored(frame[number], made[number][1]), strict=True):
            if after != before and not (math.isnan(before) and math.isnan(after)):
                raise DatasetError(
                    f"in '{name}', {before!r} would come back as {after!r}, for a table keeps it "
                    "beside fractions or missing values; let the node return it as a float"
                )
    names = list(columns)
    if form == "steps":
        notes["steps"], frame, names = notes["types"].pop(0), frame.set_index(0), ["value"]
        if frame.index.hasnans:
            raise DatasetError("a step is None or NaN; give each value a step that is a number")
    frame.columns = pd.Index(names, dtype=object)
    frame.index.name = None if "step" in names else "step"
    frame.attrs[HISTORY] = notes
    return frame


def _from_frame(frame: pd.DataFrame, notes: dict[str, Any]) -> Any:
    lists = [_restored(frame.iloc[:, number], types) for number, types in enumerate(notes["types"])]
    if notes["form"] == "names":
        return dict(zip(frame.columns, lists, strict=True))
    if notes["form"] == "steps":
        return dict(zip(_restored(frame.index, notes["steps"]), lists[0], strict=True))
    return lists[0]


def _check_frame(frame: pd.DataFrame) -> None:
    advice = "; let the node convert it, or use MLRunDataframeDataset, which draws nothing"
    index = frame.index
    if not (is_any_real_numeric_dtype(index) or isinstance(index, pd.DatetimeIndex)):
        raise DatasetError(f"the index is no step, which is a number or a date{advice}")
    for name, dtype in frame.dtypes.items():
        if not is_any_real_numeric_dtype(dtype):
            raise DatasetError(f"column '{name}' holds {dtype} and not numbers{advice}")


def _column(name: str, values: Any) -> tuple[pd.Series, list[Any]]:
    """Make a list a column, and give its length and its values' type, or one for each value."""
    if type(values) is not list:
        raise DatasetError(
            f"'{name}' is a {type(values).__name__} and not a list of numbers; give each name a "
            "list, or use MLRunResult for single numbers"
        )
    for value in values:
        if type(value) not in NAMES:
            raise DatasetError(
                f"in '{name}', {value!r} is a {type(value).__name__} and not a number; "
                "let the node return int, float, None or NumPy's numbers"
            )
    array = np.array([math.nan if value is None else value for value in values])
    if array.dtype == object:
        raise DatasetError("it has an integer of over 64 bits; save it as a float")
    names = [NAMES[type(value)] for value in values]
    return pd.Series(array), [len(names), names[0] if len(set(names)) == 1 else names]


def _restored(column: pd.Series | pd.Index, types: list[Any]) -> list[Any]:
    length, names = types
    names = [names] * length if isinstance(names, str) else names
    pairs = zip(names, np.asarray(column)[:length], strict=True)
    return [None if name == "none" else TYPES[name](value) for name, value in pairs]


def draw_lines(frame: pd.DataFrame, title: str) -> bytes:
    """Draw a line for each column over the index, through all values that are finite, as PNG."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise DatasetError("its chart needs Matplotlib: pip install matplotlib") from None
    frame = frame.sort_index()
    if is_any_real_numeric_dtype(frame.index):
        frame = frame[np.abs(frame.index.to_numpy(dtype="float64")) < LARGEST_DRAWN]
    # The warnings are about letters that the font lacks.
    with rc_context(STYLE), warnings.catch_warnings(action="ignore", category=UserWarning):
        # A figure of its own: `matplotlib.pyplot` would keep it, and may want a screen.
        figure, lines, image = Figure((8, 4.5), layout="constrained"), [], io.BytesIO()
        axes = figure.subplots()
        for number, (_, column) in enumerate(frame.astype("float64").items()):
            shown = column[column.abs() < LARGEST_DRAWN]
            style = ("-", "--", ":", "-.")[number // 10 % 4]
            marker = "." if len(shown) <= FEW_POINTS else None
            lines += axes.plot(shown.index, shown, ls=style, marker=marker)
        if is_integer_dtype(frame.index):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, pad=12)
        axes.set_xlabel(str(frame.index.name or "step"))
        axes.set_ylabel(str(frame.columns.name or "value"))
        if 1 < len(lines) <= LONGEST_LEGEND:
            names, columns = list(map(str, frame.columns)), 1 + (len(lines) - 1) // ROWS_OF_LEGEND
            figure.legend(lines, names, loc="outside right upper", ncols=columns)
        figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
    return image.getvalue()

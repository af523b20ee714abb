"""Metrics over steps, such as a loss by epoch, as MLRun datasets with a chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from kedro.io import DatasetError

from .abstract import MLRunAbstractDataset
from .chart import draw_lines
from .dataframe import MLRunDataframeDataset

if TYPE_CHECKING:
    import mlrun
    from mlrun.artifacts import Artifact

HISTORY = "kedro-mlrun-history"
"""The name in a frame's `attrs` of what tells how to make it a list or dict again."""

STEP = "step"
VALUE = "value"
CHART = "chart"

NUMPY = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
TYPES: dict[str, Any] = {"int": int, "float": float, "none": NoneType}
TYPES |= {f"numpy.{name}": np.dtype(name).type for name in NUMPY}
NAMES = {type_: name for name, type_ in TYPES.items()}


class MLRunMetricHistory(MLRunDataframeDataset):
    """A metric over steps, as an MLRun dataset artifact, and beside it a line chart.

    It is a list of numbers, a dict of such lists by name, a dict of numbers by step, or a data
    frame whose index is the step; loading gives back the same. The artifact is a table with a row
    for each step. The chart is an artifact of its own, a PNG file, under the key `<key>.chart`:
    MLRun's UI shows it, and so does any viewer of pictures. On it, the frame's index name and the
    name of its columns (`frame.rename_axis(columns="log loss")`) label the axes.

    Args:
        key: as in `MLRunAbstractDataset`.
        load_args: as in `MLRunAbstractDataset`.
        save_args: as in `MLRunDataframeDataset`; `tag`, `labels`, `artifact_path` and `db_key` go
            for the chart, too.
        version: as in `MLRunAbstractDataset`.
        metadata: as in `MLRunAbstractDataset`.

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

    def _log(self, context: mlrun.MLClientCtx, data: Any, folder: Path) -> None:
        frame = _to_frame(data)
        # Drawn before anything is recorded, and recorded when the data is.
        picture = draw_lines(frame, self._named())
        super()._log(context, frame, folder)
        shared = {
            name: value
            for name, value in self._save_args.items()
            if name in {"tag", "labels", "artifact_path"}
        }
        if "db_key" in self._save_args:
            shared["db_key"] = f"{self._save_args['db_key']}.{CHART}"
        chart = MLRunAbstractDataset(f"{self.key}.{CHART}", save_args={"format": "png", **shared})
        chart._log(context, picture, folder)

    def _read(self, artifact: Artifact) -> Any:
        frame = super()._read(artifact)
        notes = frame.attrs.pop(HISTORY, None)
        return _from_frame(frame, notes) if notes else frame


def _to_frame(data: Any) -> pd.DataFrame:
    """Make a history a frame, with notes of how to get the very same back."""
    if isinstance(data, pd.DataFrame):
        _check_frame(data)
        return data
    if type(data) is list:
        form, names, lists = "list", [VALUE], [data]
    elif type(data) is dict and all(type(name) is str for name in data):
        form, names, lists = "names", list(data), list(data.values())
    elif type(data) is dict:
        form, names, lists = "steps", [VALUE], [list(data.values())]
    else:
        raise DatasetError(
            f"a history is a list, a dict or a data frame, and this is a {type(data).__name__}; "
            "let the node return one of those"
        )
    for name, values in zip(names, lists, strict=True):
        if type(values) is not list:
            raise DatasetError(
                f"'{name}' is a {type(values).__name__} and not a list of numbers; give each name "
                "a list, or use MLRunResult for single numbers"
            )
    length = max(map(len, lists), default=0)
    columns = [
        _column(values, f"'{name}'" if form == "names" else "the history", length)
        for name, values in zip(names, lists, strict=True)
    ]
    notes: dict[str, Any] = {"form": form, "types": [types for _, types in columns]}
    index = pd.RangeIndex(length)
    if form == "steps":
        index, notes["steps"] = _steps(list(data))
    frame = pd.DataFrame({number: values for number, (values, _) in enumerate(columns)})
    frame = frame.set_axis(pd.Index(names, dtype=object), axis=1).set_axis(index, axis=0)
    frame.index.name = None if STEP in names else STEP
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
    if index.nlevels > 1 or not (_is_number(index) or isinstance(index, pd.DatetimeIndex)):
        raise DatasetError(f"the index is no step, which is a number or a date{advice}")
    for position, dtype in enumerate(frame.dtypes):
        if not _is_number(dtype):
            raise DatasetError(
                f"column '{frame.columns[position]}' holds {dtype} and not numbers{advice}"
            )


def _is_number(owner: Any) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(owner) and not (
        types.is_bool_dtype(owner) or types.is_complex_dtype(owner)
    )


Types = list[Any]
"""The number of a column's values, and the name of their type, or one for each value."""


def _column(values: list[Any], where: str, length: int) -> tuple[np.ndarray, Types]:
    """Give a column of the frame, filled up to its length, and what its values were."""
    types = _type_names(values, where)
    kinds = set(types)
    dtype = "float64"
    if len(kinds) == 1:
        kind = types[0].removeprefix("numpy.")
        # Only numbers with a decimal point have a NaN for what is missing.
        full = len(values) == length or kind.startswith("float")
        dtype = {"int": "int64", "none": dtype}.get(kind, kind) if full else dtype
    missing = [math.nan] * (length - len(values))
    array = _array([math.nan if value is None else value for value in values] + missing, dtype)
    described = [len(values), types[0] if len(kinds) == 1 else types]
    _check_exact(_restored(array, described), values, where)
    return array, described


def _steps(steps: list[Any]) -> tuple[pd.Index, Types]:
    types = _type_names(steps, "the steps")
    if "none" in types or any(math.isnan(step) for step in steps):
        raise DatasetError("a step is None or NaN; give each value a step that is a number")
    # All that a pandas index has.
    dtype = "int64" if all("int" in name for name in types) else "float64"
    array = _array(steps, dtype)
    described = [len(steps), types[0] if len(set(types)) == 1 else types]
    _check_exact(_restored(array, described), steps, "the steps")
    return pd.Index(array), described


def _type_names(values: list[Any], where: str) -> list[str]:
    for value in values:
        if type(value) not in NAMES:
            raise DatasetError(
                f"in {where}, {value!r} is a {type(value).__name__} and not a number; "
                "let the node return int, float, None or NumPy's numbers"
            )
    return [NAMES[type(value)] for value in values]


def _array(values: list[Any], dtype: str) -> np.ndarray:
    try:
        return np.array(values, dtype=dtype)
    except OverflowError as exc:
        raise DatasetError("it has an integer of over 64 bits; save it as a float") from exc


def _restored(column: Sequence[Any] | pd.Series | pd.Index, types: Types) -> list[Any]:
    length, names = types
    if isinstance(names, str):
        names = [names] * length
    return [
        None if name == "none" else TYPES[name](value)
        for name, value in zip(names, np.asarray(column)[:length], strict=True)
    ]


def _check_exact(loaded: list[Any], saved: list[Any], where: str) -> None:
    for after, before in zip(loaded, saved, strict=True):
        if after != before and not (math.isnan(before) and math.isnan(after)):
            raise DatasetError(
                f"in {where}, {before!r} would come back as {after!r}, for a table keeps it beside "
                "fractions or missing values; let the node return it as a float"
            )

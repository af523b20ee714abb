"""What MLRun's records show of a data frame: its first rows, schema and statistics."""

import json
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from pandas.io.json import build_table_schema

# MLRun's own limits (mlrun.artifacts.dataset): how much it shows, and describes.
ROWS, MAX_COLUMNS, MAX_LENGTH = 20, 100, 10_000
NUMBERED = build_table_schema(pd.DataFrame())  # of a frame with nothing but numbers of rows
QUARTILES = {"25%": 0.25, "50%": 0.5, "75%": 0.75}


def preview_fields(
    frame: pd.DataFrame,
    stats: bool | None = None,
    preview: int | None = None,
    ignore_preview_limits: bool = False,
    max_columns: int = MAX_COLUMNS,
) -> dict[str, dict[str, Any]]:
    """Give what MLRun's DatasetArtifact shows of a data frame, as JSON has it.

    The arguments are MLRun's own, and so are the values, which are found several times faster. Only
    categories are not listed where there are as many as the rows of a frame that isn't described.

    Args:
        frame: a data frame whose columns have different names, and are no index.
        stats: whether to describe it; by default only within MLRun's limits.
        preview: how many rows to show.
        ignore_preview_limits: show and describe all of it.
        max_columns: MLRun's setting `artifacts.datasets.max_preview_columns`.

    Returns:
        `spec`, with length, header and schema, and `status`, with header_original_length, preview
        and stats.

    Raises:
        ValueError, TypeError: it can't be shown, or JSON can't hold what is to be shown.
    """
    length, rows = len(frame), preview or ROWS
    shown = frame.head(rows) if length > rows and not ignore_preview_limits else frame
    shown = shown.reset_index()
    original = len(shown.columns)
    if original > max_columns and not ignore_preview_limits:
        shown = shown.iloc[:, :max_columns]
    header, values = shown.columns.values.tolist(), shown.values.tolist()
    schema = build_table_schema(shown, index=False, version=False)
    # In MLRun's schema a column of that name gives way to the numbers of the rows.
    columns = [field for field in schema["fields"] if field["name"] != "index"]
    for field in columns if not ignore_preview_limits else ():
        # Where MLRun would make no statistics of so many rows, the record has no such list either.
        if len(field.get("constraints", {}).get("enum", ())) >= MAX_LENGTH:
            del field["constraints"]
    schema = {**NUMBERED, "fields": [*NUMBERED["fields"], *columns]}
    if stats is None:
        is_small = length < MAX_LENGTH and len(frame.columns) < max_columns
        stats = is_small or ignore_preview_limits
    fields = {"header": header, "schema": schema, "preview": values}
    plain = json.loads(json.dumps(fields, default=_as_json))
    # Statistics are plain already, but for their names.
    found = statistics(frame).items() if stats else ()
    described = {[*json.loads(json.dumps({name: 0}))][0]: values for name, values in found}
    return {
        "spec": {"length": length, "header": plain["header"], "schema": plain["schema"]},
        "status": {
            "header_original_length": original,
            "preview": plain["preview"],
            "stats": described if stats else None,
        },
    }


def statistics(frame: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Give what MLRun's `get_df_stats` does: `describe` of each column, and its histogram."""
    described = {name: _described(column) for name, column in frame.items()}
    # `describe` has the rows of all columns, in this order.
    rows = [*dict.fromkeys(chain(*sorted((found.keys() for found in described.values()), key=len)))]
    made: dict[Any, dict[str, Any]] = {}
    for name, values in described.items():
        if isinstance(values, pd.Series):
            # Integers beside what is missing become floats there.
            found = dict(values.reindex(rows).dropna())
        else:
            found = {row: value for row, value in values.items() if pd.notna(value)}
        made[name] = {row: _scalar(found[row]) for row in rows if row in found}
        column = frame[name]
        if is_numeric_dtype(column):
            with suppress(Exception):  # of what has no finite range
                # As NumPy does it, with a warning.
                counted = column.to_numpy("u1") if column.dtype == bool else column
                hist, bins = np.histogram(counted, bins=20)
                made[name]["hist"] = [hist.tolist(), bins.tolist()]
    return made


def _described(column: pd.Series) -> dict[str, Any] | pd.Series:
    """Give what `describe` does for a column, as a dict where that is the same."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and (dtype.kind in "iu" or dtype == "f8"):
        return _described_numbers(column.to_numpy())
    if isinstance(dtype, np.dtype | pd.DatetimeTZDtype) and dtype.kind in "fmM":
        found = {"count": column.count(), "mean": column.mean()}
        if dtype.kind != "M":
            found["std"] = column.std()
        quartiles = column.quantile([*QUARTILES.values()]).tolist()
        found |= {"min": column.min(), **dict(zip(QUARTILES, quartiles, strict=True))}
        found["max"] = column.max()
        return {n: float(v) for n, v in found.items()} if dtype.kind == "f" else found
    if not is_bool_dtype(dtype) and (is_numeric_dtype(dtype) or dtype.kind in "mM"):
        return column.describe()
    counts = column.value_counts()
    unique = np.count_nonzero(counts)
    top, freq = (counts.index[0], counts.iloc[0]) if unique else (np.nan, np.nan)
    found = {"count": column.count(), "unique": unique, "top": top, "freq": freq}
    return pd.Series(found) if unique and not isinstance(top, str | bool | np.bool_) else found


def _described_numbers(values: np.ndarray) -> dict[str, float]:
    """Describe numbers by the steps of pandas, which itself takes ten times as long for them."""
    missing = np.isnan(values)
    some = low = high = values
    if missing.any():
        some, values = values[~missing], np.where(missing, 0, values)
        low, high = (np.where(missing, bound, values) for bound in (np.inf, -np.inf))
    if not (count := len(some)):
        return {"count": 0.0, **dict.fromkeys(("mean", "std", "min", *QUARTILES, "max"), np.nan)}
    with np.errstate(all="ignore"):
        floats = values.astype("f8", copy=False)
        squares = (floats.sum() / count - floats) ** 2
        squares[missing] = 0
        found = {"count": count, "mean": values.sum(dtype="f8") / count}
        found["std"] = np.sqrt(squares.sum() / (count - 1)) if count > 1 else np.nan
        quartiles = np.percentile(some, [100 * part for part in QUARTILES.values()])
        found |= {"min": low.min(), **dict(zip(QUARTILES, quartiles, strict=True))}
    return {name: float(value) for name, value in (found | {"max": high.max()}).items()}


def _scalar(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value)
    return int(value) if isinstance(value, int | np.integer) else str(value)


def _as_json(value: Any) -> Any:
    """Give what MLRun records of what JSON has no type for."""
    if isinstance(value, np.integer | np.floating):
        return _scalar(value)
    return value.tolist() if isinstance(value, np.ndarray) else str(value)

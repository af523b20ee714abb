"""What MLRun's records show of a data frame: its first rows, schema and statistics."""

import json
from collections import Counter
from contextlib import suppress
from itertools import chain
from math import isnan
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_object_dtype
from pandas.io.json import build_table_schema

# MLRun's own limits (mlrun.artifacts.dataset): how much it shows, and describes.
ROWS, MAX_COLUMNS, MAX_LENGTH = 20, 100, 10_000
NUMBERED = build_table_schema(pd.DataFrame())  # of a frame with nothing but numbers of rows
QUARTILES = ("25%", "50%", "75%")
NUMBERS = ("count", "mean", "std", "min", *QUARTILES, "max")
FLOAT, INTEGER = np.dtype("f8"), np.dtype("i8")


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
    # In MLRun's schema a column of that name gives way to the numbers of the rows.
    columns = [field for field in _schema(shown) if field["name"] != "index"]
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
    # Statistics are plain already, but for names that are no text.
    found = statistics(frame).items() if stats else ()
    described = {_as_key(name): values for name, values in found}
    return {
        "spec": {"length": length, "header": plain["header"], "schema": plain["schema"]},
        "status": {
            "header_original_length": original,
            "preview": plain["preview"],
            "stats": described if stats else None,
        },
    }


@np.errstate(all="ignore")  # nobody need be warned of infinities and the like
def statistics(frame: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Give what MLRun's `get_df_stats` does: `describe` of each column, and its histogram."""
    made, histograms = _of_numbers(frame)
    described = {name: made.get(name) or _described(column) for name, column in frame.items()}
    # `describe` has the rows of all columns, in this order.
    rows = [*dict.fromkeys(chain(*sorted((found.keys() for found in described.values()), key=len)))]
    for name, values in described.items():
        found = values
        if isinstance(values, pd.Series):
            # Integers beside what is missing become floats there.
            found = dict(values.reindex(rows).dropna())
        elif name not in histograms:
            found = {row: value for row, value in values.items() if pd.notna(value)}
        made[name] = {row: _scalar(found[row]) for row in rows if row in found}
        if name in histograms:
            made[name]["hist"] = histograms[name]
        elif is_numeric_dtype(column := frame[name]):
            with suppress(Exception):  # of what has no finite range
                # As NumPy does it, with a warning.
                counted = column.to_numpy("u1") if column.dtype == bool else column
                hist, bins = np.histogram(counted, bins=20)
                made[name]["hist"] = [hist.tolist(), bins.tolist()]
    return {name: made[name] for name in described}


def _of_numbers(frame: pd.DataFrame) -> tuple[dict[Any, dict[str, Any]], dict[Any, list[Any]]]:
    """Describe all columns of usual numbers at once, and count them; the others are left out.

    These are the steps of pandas and NumPy, but each for all columns. What could differ from them
    in the last bit is left out: a zero's sign, what is not finite, sums and widths of bins that
    floats can't hold.
    """
    dtypes, count = dict(frame.dtypes), len(frame)
    # A list, for to look into a set takes a hash of all that a dtype of categories has.
    names = [name for name, dtype in dtypes.items() if dtype in [FLOAT, INTEGER]]
    if not (names and 1 < count < MAX_LENGTH):
        return {}, {}
    rows = np.array([frame[name].to_numpy() for name in names], dtype=FLOAT)
    with np.errstate(all="ignore"):
        low, high = rows.min(axis=1), rows.max(axis=1)
        first, last = (
            np.where(low == high, low + by, edge) for by, edge in ((-0.5, low), (0.5, high))
        )
        largest = np.maximum(abs(first), abs(last))
        exact = np.array([np.inf if dtypes[name] == FLOAT else 2**53 / count for name in names])
        usable = (
            (last - first > np.maximum(largest * 2**-30, 1e-290))
            & (last - first < np.inf)
            & (largest < exact)
        )
        usable &= ~((rows == 0) & np.signbit(rows)).any(axis=1)
        names = [name for name, is_usable in zip(names, usable, strict=True) if is_usable]
        rows, low, high, first, last = (each[usable] for each in (rows, low, high, first, last))
        means = rows.sum(axis=1) / count
        stds = np.sqrt(((means[:, None] - rows) ** 2).sum(axis=1) / (count - 1))
    if not names:
        return {}, {}
    quartiles = np.percentile(rows, (25, 50, 75), axis=1)
    columns = np.array([np.full_like(low, count), means, stds, low, *quartiles, high]).T.tolist()
    described = [dict(zip(NUMBERS, column, strict=True)) for column in columns]
    edges, ordered = np.linspace(first, last, 21, axis=1), np.sort(rows, axis=1)
    below = (np.searchsorted(o, e[1:-1]) for o, e in zip(ordered, edges, strict=True))
    counts = [np.diff(each, prepend=0, append=count).tolist() for each in below]
    histograms = map(list, zip(counts, edges.tolist(), strict=True))
    return dict(zip(names, described, strict=True)), dict(zip(names, histograms, strict=True))


def _described(column: pd.Series) -> dict[str, Any] | pd.Series:
    """Give what `describe` does for a column, as a dict where that is the same."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype | pd.DatetimeTZDtype) and dtype.kind in "iufmM":
        found = {"count": column.count(), "mean": column.mean()}
        quartiles = column.quantile([0.25, 0.5, 0.75])
        if dtype.kind != "M":
            found["std"] = column.std()
        found |= {"min": column.min(), **dict(zip(QUARTILES, quartiles, strict=True))}
        found["max"] = column.max()
        return {n: float(v) for n, v in found.items()} if dtype.kind in "iuf" else found
    if not is_bool_dtype(dtype) and (is_numeric_dtype(dtype) or dtype.kind in "mM"):
        return column.describe()
    unique, top, freq = _most_frequent(column)
    found = {"count": column.count(), "unique": unique, "top": top, "freq": freq}
    return pd.Series(found) if unique and not isinstance(top, str | bool | np.bool_) else found


def _most_frequent(column: pd.Series) -> tuple[int, Any, Any]:
    """Give how many values there are, the most frequent one, and how often it comes."""
    dtype, names, numbers = column.dtype, list[Any](), None
    if isinstance(dtype, pd.CategoricalDtype):
        codes, names = column.array.codes, dtype.categories
        numbers = np.bincount(codes[codes >= 0], minlength=len(names))
    elif is_object_dtype(dtype) and _is_text(values := column.tolist()):
        counted = Counter(value for value in values if type(value) is str)
        names, numbers = [*counted], np.array([*counted.values()], dtype=INTEGER)
    if numbers is None:
        counts = column.value_counts()
        unique = np.count_nonzero(counts)
        return (unique, counts.index[0], counts.iloc[0]) if unique else (0, np.nan, np.nan)
    if not (unique := np.count_nonzero(numbers)):
        return 0, np.nan, np.nan
    # Of several it is that which comes first where pandas sorts them.
    place = len(numbers) - 1 - int(np.argsort(numbers[::-1])[-1])
    return unique, names[place], numbers[place]


def _is_text(values: list[Any]) -> bool:
    """Tell whether values are text, and None or NaN where there is none."""
    return all(type(v) is str or v is None or (type(v) is float and isnan(v)) for v in values)


def _schema(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the fields of a table's schema, asking pandas once for each of NumPy's dtypes."""
    kinds = [d if isinstance(d, np.dtype) else number for number, d in enumerate(frame.dtypes)]
    first = {kind: number for number, kind in reversed([*enumerate(kinds)])}
    part = build_table_schema(frame.iloc[:0, [*first.values()]], index=False, version=False)
    fields = dict(zip(first, part["fields"], strict=True))
    return [{**fields[kind], "name": name} for kind, name in zip(kinds, frame, strict=True)]


def _as_key(name: Any) -> str:
    return name if type(name) is str else str(*json.loads(json.dumps({name: 0})))


def _scalar(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return float(value)
    return int(value) if isinstance(value, int | np.integer) else str(value)


def _as_json(value: Any) -> Any:
    """Give what MLRun records of what JSON has no type for."""
    if isinstance(value, np.integer | np.floating):
        return _scalar(value)
    return value.tolist() if isinstance(value, np.ndarray) else str(value)

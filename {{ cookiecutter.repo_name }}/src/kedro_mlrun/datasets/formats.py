"""Data frames in Parquet and CSV, from which they come back as they were."""

import base64
import io
import json
import math
from pathlib import Path
from types import NoneType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pandas.core.arrays.arrow.extension_types  # tells Arrow of periods and intervals
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import is_object_dtype

from .abstract import class_named, type_name

# Names in a frame's `attrs`.
INDEX_FREQ, DTYPES = "kedro-mlrun-index-freq", "kedro-mlrun-dtypes"
LABELS, NAMES = "kedro-mlrun-labels", "kedro-mlrun-index-names"
# The labels of columns that Parquet keeps by itself.
KEPT = ("string object", "integer int64", "floating float64", "empty object")
# What pandas and Arrow say of what a format can't hold.
NOT_HELD: tuple[type[Exception], ...] = (AssertionError, ValueError, TypeError, OverflowError)
NOT_HELD += NotImplementedError, ImportError, AttributeError  # the last two of a subclass
# The dtypes of which Parquet keeps every value.
PLAIN = {np.dtype(name) for name in ("bool", "f4", "f8", "M8[ns]", "m8[ns]")}
PLAIN |= {np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)}
ARROW_TEXT = pd.ArrowDtype(pa.string())
THREADS_FROM = 2**24  # bytes
MANY = 1_000  # columns, whose names and types are no small part of a file


def is_kept(name: Any, value: Any) -> bool:
    """Tell whether Parquet, which has a frame's `attrs` as JSON, keeps one of them."""
    try:
        same = repr(json.loads(json.dumps({name: value}))) == repr({name: value})
    except (TypeError, ValueError):
        return False
    return same and name not in {INDEX_FREQ, DTYPES, LABELS, NAMES}


def _is_text(names: list[Any]) -> bool:
    return all(name is None or isinstance(name, str) for name in names)


def _kind(value: Any) -> Any:
    """Give an object's type, and the types in it; of None and NaN either may come back."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return np.ndarray, value.dtype
    if isinstance(value, list | tuple | np.ndarray):
        return type(value), *map(_kind, value)
    if isinstance(value, dict):
        return dict, *((name, _kind(item)) for name, item in value.items())
    return NoneType if isinstance(value, float) and math.isnan(value) else type(value)


def as_class(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Make a frame one of the class that was saved, which may be a subclass of pandas' own."""
    kind = class_named(name) if name not in {"", type_name(frame)} else None
    if not (isinstance(kind, type) and issubclass(kind, pd.DataFrame)):
        return frame
    made = kind(frame)
    made.attrs = frame.attrs
    return made


def write_parquet(frame: pd.DataFrame, file: Path, checked: bool = True) -> None:
    """Write a frame, with notes of what Parquet would change, if it will come back."""
    written, notes = frame.copy(deep=False), dict[str, Any]()
    columns, kind = frame.columns, f"{frame.columns.inferred_type} {frame.columns.dtype}"
    if columns.nlevels > 1:
        keeps_labels = not any(isinstance(kind, pd.CategoricalDtype) for kind in columns.dtypes)
    else:
        keeps_labels = type(columns) is pd.Index and kind in KEPT and _is_text([columns.name])
    if not keeps_labels:
        # As an index they come back, whatever they are.
        write_parquet(pd.DataFrame({"label": 0}, index=columns), file, checked=False)
        notes[LABELS] = base64.b64encode(file.read_bytes()).decode()
        is_integer = columns.inferred_type == "integer"
        written.columns = columns.rename(None) if is_integer else pd.Index([*map(str, columns)])
    if not _is_text(names := [*frame.index.names]) and is_kept("", names):
        notes[NAMES] = names
        written.index = written.index.rename([None] * len(names) if len(names) > 1 else None)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and frame.index.freqstr:
        notes[INDEX_FREQ] = frame.index.freqstr
    dtypes = dtypes_of(frame)
    categories = {n: getattr(dtype, "categories", None) for n, dtype in dtypes.items()}
    # Parquet takes intervals, but not as categories.
    cast(written, {n: c.dtype for n, c in categories.items() if isinstance(c, pd.IntervalIndex)})
    table = pa.Table.from_pandas(written)
    if len({*table.schema.names}) < table.num_columns:
        raise ValueError("a column has a name under which Parquet keeps the index")
    _note_types(frame, table, dtypes, notes, checked)
    if kind != KEPT[0]:
        labels = table.schema.empty_table().to_pandas().columns
        if not keeps_labels:
            labels = read_parquet(base64.b64decode(notes[LABELS])).index
        pd.testing.assert_index_equal(labels, columns, exact=True)
        # To pandas, None and NaN are equal.
        if repr([*labels]) != repr([*columns]):
            raise ValueError(f"the columns' names change from {[*columns]} to {[*labels]}")
    # As pandas has a frame's `attrs`.
    metadata = {**table.schema.metadata, "PANDAS_ATTRS": json.dumps({**frame.attrs, **notes})}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    if frame.attrs or notes or table.num_columns > MANY:
        pq.read_metadata(file)  # It may have become too long to be read.


def _note_types(
    frame: pd.DataFrame,
    table: pa.Table,
    dtypes: dict[int, Any],
    notes: dict[str, Any],
    checked: bool,
) -> None:
    """Note the types that Parquet would change, and compare the columns that it might change."""
    levels, count = frame.index.nlevels, len(frame.columns)
    is_plain = type(frame) is pd.DataFrame and frame.flags.allows_duplicate_labels
    if is_plain and _is_text([*frame.index.names]):
        looked = [n for n in range(count) if not _is_plain(frame, n, dtypes[levels + n])]
        kept = all(_is_text_category(dtypes[levels + n]) for n in looked)
        if count and kept and isinstance(frame.index, pd.RangeIndex):
            if not looked or (len(frame) and _is_same_table(table.select(looked))):
                return
    else:
        looked = [*range(count)]
    # Written alone, they show what becomes of them.
    part = pa.BufferOutputStream()
    pq.write_table(table.select([*looked, *range(count, table.num_columns)]), part)
    after = read_parquet(part.getvalue())
    places = [*range(levels), *(levels + n for n in looked)]
    found = enumerate(dtypes_of(after).values())
    changed = {n: _note(dtypes[places[n]]) for n, d in found if d != dtypes[places[n]]}
    if checked:
        _restore(after, {**notes, DTYPES: changed, LABELS: None})
        after.columns = frame.columns[looked]
        compare(frame if len(looked) == count else frame.iloc[:, looked], after)
    if changed:
        notes[DTYPES] = {places[n]: note for n, note in changed.items()}


def _is_text_category(dtype: Any) -> bool:
    """Tell whether Arrow gives back a column that has categories as it has taken it."""
    names: Any = getattr(dtype, "categories", None)
    is_text = type(names) is pd.Index and names.dtype == object and names.name is None
    return is_text and all(type(name) is str for name in names)


def _is_same_table(table: pa.Table) -> bool:
    """Tell whether Parquet keeps what it may change of categories, looking at Arrow's codes."""
    written = pa.BufferOutputStream()
    pq.write_table(table, written)
    with pq.ParquetFile(pa.BufferReader(written.getvalue())) as file:
        return bool(file.read(use_threads=False).equals(table))


def _is_plain(frame: pd.DataFrame, number: int, dtype: Any) -> bool:
    """Tell whether Parquet keeps a column that Arrow has taken, whatever its values are."""
    if not is_object_dtype(dtype):
        # Not one of categories, whose hash is that of all of them.
        return isinstance(dtype, np.dtype) and dtype in PLAIN
    # Arrow takes no numbers among text, so that a float is NaN.
    kinds = {*map(type, frame.iloc[:, number].tolist())}
    return str in kinds and kinds <= {str, NoneType, float}


def compare(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raise an error unless a frame has come back as it was; its labels aren't compared."""
    name = type_name(before)
    after = as_class(after, name)
    for attribute in before._metadata:
        if repr(getattr(after, attribute, None)) != repr(getattr(before, attribute, None)):
            raise ValueError(f"'{attribute}' of a {name} is no part of it")
    if getattr(after.index, "freq", None) != getattr(before.index, "freq", None):
        raise ValueError("the frequency of its index changes")
    columns = range(before.shape[1])
    unequal = [n for n in columns if not _is_same(before.iloc[:, n], after.iloc[:, n])]
    pd.testing.assert_frame_equal(
        after.iloc[:, unequal], before.iloc[:, unequal], check_exact=True, check_index_type=True
    )


def _is_same(before: pd.Series, after: pd.Series) -> bool:
    """Compare columns of one dtype quickly; where it says no, they can still be equal."""
    if before.dtype != after.dtype:
        return False
    if isinstance(before.dtype, pd.CategoricalDtype):
        # Of those without an order, the dtypes are equal in any order.
        pd.testing.assert_index_equal(after.cat.categories, before.cat.categories, exact=True)
        return after.cat.codes.equals(before.cat.codes)
    if is_object_dtype(before):
        # Only objects can be equal and of another type.
        if [*map(_kind, before)] != [*map(_kind, after)]:
            raise ValueError(f"objects of column '{before.name}' change their types")
        before, after = (column.where(column.notna()) for column in (before, after))
    return bool(after.array.equals(before.array))


def read_parquet(content: bytes | pa.Buffer) -> pd.DataFrame:
    """Read a frame, also one that another program has written."""
    # Arrow's threads abort a process that ends just after they began; small frames need none.
    large = len(content) > THREADS_FROM
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        table = file.read(use_threads=large)
    del content, file
    attrs = json.loads((table.schema.metadata or {}).get(b"PANDAS_ATTRS", "{}"))
    # What has been converted is let go of at once, as the content was.
    frame = table.to_pandas(use_threads=large, self_destruct=True)
    _restore(frame, attrs)
    return frame


def _restore(frame: pd.DataFrame, attrs: dict[str, Any]) -> None:
    """Make of a frame what its notes say, and give it the other `attrs`."""
    cast(frame, {int(n): _noted(note) for n, note in attrs.pop(DTYPES, {}).items()})
    frame.index.names = attrs.pop(NAMES, frame.index.names)
    freq = attrs.pop(INDEX_FREQ, None)
    if freq and len(frame):
        frame.index.freq = freq
    if labels := attrs.pop(LABELS, None):
        frame.columns = read_parquet(base64.b64decode(labels)).index
    frame.attrs = attrs


def dtypes_of(frame: pd.DataFrame) -> dict[int, Any]:
    """Give the dtypes of the index's levels and of the columns, by position."""
    levels = [frame.index.dtype]
    if not isinstance(frame.index, pd.RangeIndex):
        levels = [*pd.DataFrame(index=frame.index).reset_index(allow_duplicates=True).dtypes]
    return dict(enumerate([*levels, *frame.dtypes]))


def cast(frame: pd.DataFrame, dtypes: dict[int, Any]) -> None:
    """Give levels of the index and columns other dtypes, by position."""
    levels = frame.index.nlevels
    for position, dtype in dtypes.items():
        if position >= levels:
            column = frame.iloc[:, position - levels].astype(dtype)
            frame.isetitem(position - levels, column)
        elif levels == 1:
            frame.index = frame.index.astype(dtype)


def _note(dtype: Any) -> Any:
    """Describe a dtype in what JSON can hold."""
    if isinstance(dtype, pd.CategoricalDtype):
        values = pd.DataFrame({"categories": dtype.categories}).to_parquet()
        return {"ordered": dtype.ordered, "categories": base64.b64encode(values).decode()}
    if isinstance(dtype, pd.DatetimeTZDtype) and isinstance(dtype.tz, ZoneInfo):
        return {"unit": dtype.unit, "zone": dtype.tz.key}
    if dtype == ARROW_TEXT:
        return {"arrow": "string"}
    return f"string[{dtype.storage}]" if isinstance(dtype, pd.StringDtype) else str(dtype)


def _noted(note: Any) -> Any:
    if isinstance(note, str):
        return note
    if "arrow" in note:
        return ARROW_TEXT  # whose text is also that of a StringDtype
    if "zone" in note:
        return pd.DatetimeTZDtype(note["unit"], ZoneInfo(note["zone"]))
    values = read_parquet(base64.b64decode(note["categories"]))["categories"]
    return pd.CategoricalDtype(values.array, note["ordered"])


def read_csv(content: bytes, schema: bytes) -> pd.DataFrame:
    """Read a frame with the types of its first row, which is in Parquet."""
    template = read_parquet(schema)
    index, dtypes = template.index, dtypes_of(template)
    # What read_csv can't make from text by itself.
    later = {n: d for n, d in dtypes.items() if d.kind in "mM" or isinstance(d, pd.PeriodDtype)}
    frame = pd.read_csv(
        io.BytesIO(content),
        header=0,
        names=list(dtypes),
        index_col=False,
        dtype={**dtypes, **dict.fromkeys(later, "str")},
        keep_default_na=False,
        na_values=[""],
        float_precision="round_trip",
    )
    frame = frame.astype(later).set_index(list(dtypes)[: index.nlevels])
    frame.columns, frame.index.names = template.columns, index.names
    if isinstance(index, pd.RangeIndex):
        stop = index.start + index.step * len(frame)
        frame.index = pd.RangeIndex(index.start, stop, index.step, name=index.name)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        frame.index.freq = index.freq
    frame.attrs = template.attrs
    return frame


def plain_names(frame: pd.DataFrame) -> list[Any]:
    """Give the columns' names as the keys of JSON are: text or numbers."""
    names = (".".join(map(str, n)) if isinstance(n, tuple) else n for n in frame.columns)
    return [name if isinstance(name, str | int | float) else str(name) for name in names]

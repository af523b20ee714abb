"""Data frames as MLRun dataset artifacts."""

import base64
import hashlib
import io
import json
import logging
import math
import re
from pathlib import Path
from types import NoneType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pandas.core.arrays.arrow.extension_types  # tells Arrow of periods and intervals
import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import DatasetError
from pandas.api.types import is_object_dtype

from ..lazy import mlrun, mlrun_loaded
from ..store.rows import Record
from .abstract import MLRunAbstractDataset, class_named, file_format, type_label, type_name
from .files import verified_bytes, write
from .preview import MAX_LENGTH, ROWS, preview_fields

# Names in a frame's `attrs`, and in the artifact's `extra_data`.
INDEX_FREQ, DTYPES = "kedro-mlrun-index-freq", "kedro-mlrun-dtypes"
LABELS, NAMES, SCHEMA = "kedro-mlrun-labels", "kedro-mlrun-index-names", "schema"
# The labels of columns that Parquet keeps by itself.
KEPT = ("string object", "integer int64", "floating float64", "empty object")
# What pandas and Arrow say of what a format can't hold.
NOT_HELD: tuple[type[Exception], ...] = (AssertionError, ValueError, TypeError, OverflowError)
NOT_HELD += NotImplementedError, ImportError, AttributeError  # the last two of a subclass
# The dtypes of which Parquet keeps every value.
PLAIN = {np.dtype(name) for name in ("bool", "f4", "f8", "M8[ns]", "m8[ns]")}
PLAIN |= {np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)}
LIMITS = ("stats", "preview", "ignore_preview_limits")
ARROW_TEXT = pd.ArrowDtype(pa.string())
THREADS_FROM = 2**24  # bytes


class MLRunDataframeDataset(MLRunAbstractDataset):
    """A pandas data frame as an MLRun dataset artifact, with MLRun's preview and statistics.

    The frame comes back as it was: its class, dtypes, index, columns, categories, time zones,
    `attrs`. What the format may change is read back and compared before it is recorded; a frame
    that it can't hold is refused. One that MLRun can't show is recorded without preview and
    statistics; from 10,000 rows on it has the first rows as preview, and statistics with `stats`.

    Args:
        key: as for `MLRunAbstractDataset`, and so are `load_args`, `version` and `metadata`.
        save_args: further arguments of MLRun's `log_dataset`, such as `tag`, `labels`, `stats`,
            `label_column` and `format`: `parquet` (default) or `csv`.

    Example:
        ```yaml
        user_data:
          type: kedro_mlrun.MLRunDataframeDataset
          save_args:
            format: csv
        ```

        ```python
        dataset = MLRunDataframeDataset(key="processed_df")
        dataset.save(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
        assert dataset.load().equals(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
        ```
    """

    KIND = "dataset"
    PLAIN = MLRunAbstractDataset.PLAIN - {"viewer"} | {*LIMITS, "column_metadata", "label_column"}

    def _prepare(
        self, data: Any, temporary: Path, folder: str, arguments: Record
    ) -> tuple[Path, Record, Record]:
        if not isinstance(data, pd.DataFrame):
            kind = f"a data frame is expected and this is a {type(data).__name__}"
            raise DatasetError(f"{kind}. Use MLRunAbstractDataset, which keeps any object")
        file, spec, _ = super()._prepare(data, temporary, folder, arguments)
        label, limits = arguments.pop("label_column", None), _limits(arguments, len(data))
        shown = data
        if len(data) >= MAX_LENGTH and not any(map(limits.get, ("stats", "ignore_preview_limits"))):
            # Of a large frame MLRun shows the first rows, and makes no statistics.
            shown = data.head(limits.get("preview") or ROWS)
        shown = _for_preview(shown)
        if label is not None and label not in shown.columns:
            known = ", ".join(map(str, shown.columns))
            raise DatasetError(f"label_column '{label}' is no column of the data frame: {known}")
        fields = self._preview(shown, limits)
        spec |= {**fields["spec"], "length": len(data), "label_column": label}
        spec |= {name: arguments.pop(name, None) for name in ("column_metadata", "extra_data")}
        if (schema := temporary / SCHEMA).exists():
            # Its hash is in its name, for the record has that of the data only.
            content = schema.read_bytes()
            schema.unlink()
            digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            url = f"{folder}/{self.key}.{digest}.schema.parquet"
            write(url, content)
            spec["extra_data"] = {**(spec["extra_data"] or {}), SCHEMA: url}
        return file, spec, fields["status"]

    def _preview(self, shown: pd.DataFrame, limits: Record) -> dict[str, Record]:
        try:
            return preview_fields(shown, **limits)
        except Exception as error:
            message = "'%s' is recorded without preview and statistics, which can't be made: %s"
            logging.getLogger(__name__).warning(message, self.key, error)
            fields = preview_fields(pd.DataFrame(), stats=False)
            fields["spec"]["header"] = [*shown.columns]
            return fields

    def _write(self, data: Any, folder: Path) -> Path:
        ending = self._save_args.get("format") or "parquet"
        self._check_names([ending], ["parquet", "csv"], "format")
        file, schema = folder / f"data.{ending}", folder / SCHEMA
        try:
            if unkept := [name for name, value in data.attrs.items() if not _is_kept(name, value)]:
                raise ValueError(f"JSON can't keep {unkept} of its attrs as they are")
            if ending == "csv":
                # CSV holds no types. They stand beside it, with the first row, for without one
                # Parquet holds no categories.
                _write_parquet(data.iloc[:1], schema, checked=False)
                data.set_axis(_plain_names(data), axis=1).to_csv(file)
                _compare(data, _read_csv(file.read_bytes(), schema.read_bytes()))
            else:
                _write_parquet(data, file)
        except NOT_HELD as exc:
            reason = " ".join(str(exc).split())
            raise DatasetError(
                f"{ending} can't hold this data frame as it is ({reason}); convert what it names, "
                "or use MLRunAbstractDataset, which keeps any frame"
            ) from None
        return file

    def _read(self, artifact: Record) -> pd.DataFrame:
        if file_format(artifact) in {"parquet", "pq"}:
            frame = _read_parquet(verified_bytes(artifact, hash_needed=False))
        elif schema := (artifact["spec"].get("extra_data") or {}).get(SCHEMA):
            digest = re.search(r"\.([0-9a-f]{40})\.schema\.", schema)  # not in earlier versions
            types = verified_bytes(artifact, schema, False, digest[1] if digest else "")
            frame = _read_csv(verified_bytes(artifact), types)
        else:
            # MLRun itself wrote it, without a hash.
            file = mlrun.get_dataitem(artifact["spec"]["target_path"])
            frame = file.as_df(format=artifact["spec"].get("format") or None)
        return _as_class(frame, type_label(artifact))


def _limits(arguments: Record, length: int) -> Record:
    """Take from the arguments how much of a frame is shown."""
    limits = {name: arguments.pop(name) for name in LIMITS if name in arguments}
    if length >= MAX_LENGTH and not limits.get("ignore_preview_limits"):
        limits["stats"] = bool(limits.get("stats"))
    if mlrun := mlrun_loaded():
        limits["max_columns"] = mlrun.mlconf.artifacts.datasets.max_preview_columns
    return limits


def _is_kept(name: Any, value: Any) -> bool:
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


def _as_class(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Make a frame one of the class that was saved, which may be a subclass of pandas' own."""
    kind = class_named(name) if name not in {"", type_name(frame)} else None
    if not (isinstance(kind, type) and issubclass(kind, pd.DataFrame)):
        return frame
    made = kind(frame)
    made.attrs = frame.attrs
    return made


def _write_parquet(frame: pd.DataFrame, file: Path, checked: bool = True) -> None:
    """Write a frame, with notes of what Parquet would change, if it will come back."""
    written, notes = frame.copy(deep=False), dict[str, Any]()
    columns, kind = frame.columns, f"{frame.columns.inferred_type} {frame.columns.dtype}"
    if columns.nlevels > 1:
        is_kept = not any(isinstance(kind, pd.CategoricalDtype) for kind in columns.dtypes)
    else:
        is_kept = type(columns) is pd.Index and kind in KEPT and _is_text([columns.name])
    if not is_kept:
        # As an index they come back, whatever they are.
        _write_parquet(pd.DataFrame({"label": 0}, index=columns), file, checked=False)
        notes[LABELS] = base64.b64encode(file.read_bytes()).decode()
        is_integer = columns.inferred_type == "integer"
        written.columns = columns.rename(None) if is_integer else pd.Index([*map(str, columns)])
    if not _is_text(names := [*frame.index.names]) and _is_kept("", names):
        notes[NAMES] = names
        written.index = written.index.rename([None] * len(names) if len(names) > 1 else None)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and frame.index.freqstr:
        notes[INDEX_FREQ] = frame.index.freqstr
    dtypes = _dtypes(frame)
    categories = {n: getattr(dtype, "categories", None) for n, dtype in dtypes.items()}
    # Parquet takes intervals, but not as categories.
    _cast(written, {n: c.dtype for n, c in categories.items() if isinstance(c, pd.IntervalIndex)})
    table = pa.Table.from_pandas(written)
    if len({*table.schema.names}) < table.num_columns:
        raise ValueError("a column has a name under which Parquet keeps the index")
    _note_types(frame, table, notes, checked)
    if kind != KEPT[0]:
        labels = table.schema.empty_table().to_pandas().columns
        if not is_kept:
            labels = _read_parquet(base64.b64decode(notes[LABELS])).index
        pd.testing.assert_index_equal(labels, columns, exact=True)
        # To pandas, None and NaN are equal.
        if repr([*labels]) != repr([*columns]):
            raise ValueError(f"the columns' names change from {[*columns]} to {[*labels]}")
    # As pandas has a frame's `attrs`.
    metadata = {**table.schema.metadata, "PANDAS_ATTRS": json.dumps({**frame.attrs, **notes})}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    pq.read_metadata(file)  # It may have become too long to be read.


def _note_types(frame: pd.DataFrame, table: pa.Table, notes: dict[str, Any], checked: bool) -> None:
    """Note the types that Parquet would change, and compare the columns that it might change."""
    dtypes, levels, count = _dtypes(frame), frame.index.nlevels, len(frame.columns)
    is_plain = type(frame) is pd.DataFrame and frame.flags.allows_duplicate_labels
    if is_plain and _is_text([*frame.index.names]):
        looked = [n for n in range(count) if not _is_plain(frame, n, dtypes[levels + n])]
        if count and not looked and isinstance(frame.index, pd.RangeIndex):
            return
    else:
        looked = [*range(count)]
    # Written alone, they show what becomes of them.
    part = pa.BufferOutputStream()
    pq.write_table(table.select([*looked, *range(count, table.num_columns)]), part)
    after = _read_parquet(part.getvalue())
    places = [*range(levels), *(levels + n for n in looked)]
    found = enumerate(_dtypes(after).values())
    changed = {n: _note(dtypes[places[n]]) for n, d in found if d != dtypes[places[n]]}
    if checked:
        _restore(after, {**notes, DTYPES: changed, LABELS: None})
        after.columns = frame.columns[looked]
        _compare(frame if len(looked) == count else frame.iloc[:, looked], after)
    if changed:
        notes[DTYPES] = {places[n]: note for n, note in changed.items()}


def _is_plain(frame: pd.DataFrame, number: int, dtype: Any) -> bool:
    """Tell whether Parquet keeps a column that Arrow has taken, whatever its values are."""
    if not is_object_dtype(dtype):
        return dtype in PLAIN
    # Arrow takes no numbers among text, so that a float is NaN.
    kinds = {*map(type, frame.iloc[:, number].tolist())}
    return str in kinds and kinds <= {str, NoneType, float}


def _compare(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raise an error unless a frame has come back as it was; its labels aren't compared."""
    name = type_name(before)
    after = _as_class(after, name)
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


def _read_parquet(content: bytes | pa.Buffer) -> pd.DataFrame:
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
    _cast(frame, {int(n): _noted(note) for n, note in attrs.pop(DTYPES, {}).items()})
    frame.index.names = attrs.pop(NAMES, frame.index.names)
    freq = attrs.pop(INDEX_FREQ, None)
    if freq and len(frame):
        frame.index.freq = freq
    if labels := attrs.pop(LABELS, None):
        frame.columns = _read_parquet(base64.b64decode(labels)).index
    frame.attrs = attrs


def _dtypes(frame: pd.DataFrame) -> dict[int, Any]:
    """Give the dtypes of the index's levels and of the columns, by position."""
    levels = [frame.index.dtype]
    if not isinstance(frame.index, pd.RangeIndex):
        levels = [*pd.DataFrame(index=frame.index).reset_index(allow_duplicates=True).dtypes]
    return dict(enumerate([*levels, *frame.dtypes]))


def _cast(frame: pd.DataFrame, dtypes: dict[int, Any]) -> None:
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
    values = _read_parquet(base64.b64decode(note["categories"]))["categories"]
    return pd.CategoricalDtype(values.array, note["ordered"])


def _read_csv(content: bytes, schema: bytes) -> pd.DataFrame:
    template = _read_parquet(schema)
    index, dtypes = template.index, _dtypes(template)
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


def _plain_names(frame: pd.DataFrame) -> list[Any]:
    """Give the columns' names as the keys of JSON are: text or numbers."""
    names = (".".join(map(str, n)) if isinstance(n, tuple) else n for n in frame.columns)
    return [name if isinstance(name, str | int | float) else str(name) for name in names]


def _for_preview(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame that MLRun can show: the index is a column there, and zones have a name."""
    shown = frame.set_axis(_plain_names(frame), axis=1, copy=False)
    if set(shown.index.names) & set(shown.columns):
        shown = shown.rename_axis([None] * shown.index.nlevels)
    zones = {n: d for n, d in _dtypes(shown).items() if isinstance(d, pd.DatetimeTZDtype)}
    _cast(shown, {n: f"M8[{d.unit}, UTC]" for n, d in zones.items() if not hasattr(d.tz, "zone")})
    return shown

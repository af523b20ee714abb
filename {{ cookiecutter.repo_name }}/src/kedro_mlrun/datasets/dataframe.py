"""Data frames as MLRun dataset artifacts."""

import base64
import io
import warnings
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from kedro.io import DatasetError

from ..lazy import mlrun
from .abstract import MLRunAbstractDataset, file_format, verified_bytes

INDEX_FREQ = "kedro-mlrun-index-freq"
DTYPES = "kedro-mlrun-dtypes"
SCHEMA = "schema"


class MLRunDataframeDataset(MLRunAbstractDataset):
    """A pandas data frame as an MLRun dataset artifact, with MLRun's preview and statistics.

    The frame comes back as it was: dtypes, index, column order, categories, time zones. Before it
    is recorded it is read back and compared; a frame that the format can't hold is refused.

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

    def _log(self, context: Any, data: Any, temporary: Path) -> None:
        if not isinstance(data, pd.DataFrame):
            raise DatasetError(
                f"a data frame is expected and this is a {type(data).__name__}; "
                "let the node return a pandas DataFrame, or use MLRunAbstractDataset"
            )
        log, kind = context.log_dataset, mlrun.artifacts.DatasetArtifact
        # About statistics of booleans, infinities and such.
        with (
            self._saving(context, log, kind, data) as (folder, arguments),
            warnings.catch_warnings(action="ignore", category=RuntimeWarning),
        ):
            ending = arguments["format"] = arguments.get("format") or "parquet"
            self._check_names([ending], ["parquet", "csv"], "format")
            if data.columns.empty:
                # Of which MLRun fails to make statistics.
                arguments["stats"] = False
            file, schema = temporary / f"data.{ending}", temporary / "schema.parquet"
            _write(data, file, schema)
            if ending == "csv":
                url = f"{folder}/{self.key}.schema.parquet"
                mlrun.get_dataitem(url).put(schema.read_bytes())
                arguments["extra_data"] = {**(arguments.get("extra_data") or {}), SCHEMA: url}
            arguments["target_path"] = f"{folder}/{self.key}.{ending}"
            # MLRun uploads the file; the frame is for its preview.
            log(self.key, _for_preview(data), local_path=str(file), **arguments)

    def _read(self, artifact: Any) -> pd.DataFrame:
        if file_format(artifact) in {"parquet", "pq"}:
            return _read_parquet(verified_bytes(artifact, hash_needed=False))
        schema = artifact.spec.extra_data.get(SCHEMA)
        if schema:
            return _read_csv(verified_bytes(artifact), mlrun.get_dataitem(schema).get())
        # MLRun itself wrote it, without a hash.
        frame = mlrun.get_dataitem(artifact.target_path).as_df(format=artifact.spec.format or None)
        if not isinstance(frame, pd.DataFrame):
            raise DatasetError(f"it is a {artifact.kind} and not a data frame")
        return frame


def _write(frame: pd.DataFrame, file: Path, schema: Path) -> None:
    """Write a frame to a file from which the very same can be read."""
    try:
        if file.suffix == ".csv":
            # CSV holds no types. They stand beside it, with the first row, for without one Parquet
            # holds no categories.
            write_parquet(frame.iloc[:1], schema)
            _with_flat_names(frame).to_csv(file)
            loaded = _read_csv(file.read_bytes(), schema.read_bytes())
        else:
            loaded = write_parquet(frame, file)
        _check_same(loaded, frame)
    except (AssertionError, ValueError, TypeError, NotImplementedError, OverflowError) as exc:
        raise DatasetError(
            f"{file.suffix[1:]} can't hold this data frame as it is ({' '.join(str(exc).split())});"
            " convert what it names to a type that fits, or use MLRunAbstractDataset, which keeps "
            "any frame"
        ) from exc


def write_parquet(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Write a frame, with notes of what Parquet would change, and give what will be read."""
    written = frame.copy(deep=False)
    # A frame's `attrs` travel with it, and so can notes.
    written.attrs = dict(frame.attrs)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and frame.index.freqstr:
        written.attrs[INDEX_FREQ] = frame.index.freqstr
    for position, dtype in enumerate(frame.dtypes):
        if isinstance(getattr(dtype, "categories", None), pd.IntervalIndex):
            # Parquet takes intervals, but not as categories.
            plain = frame.iloc[:, position].astype(dtype.categories.dtype)
            written.isetitem(position, plain)
    written.to_parquet(file)
    loaded = _read_parquet(file.read_bytes())
    dtypes = (list(each.reset_index(allow_duplicates=True).dtypes) for each in (frame, loaded))
    changed = {
        position: _describe_dtype(before)
        for position, (before, after) in enumerate(zip(*dtypes, strict=True))
        if before != after
    }
    if not changed:
        return loaded
    written.attrs[DTYPES] = changed
    written.to_parquet(file)
    return _read_parquet(file.read_bytes())


def _read_parquet(content: bytes) -> pd.DataFrame:
    frame = pd.read_parquet(io.BytesIO(content))
    levels = frame.index.nlevels
    for position, description in frame.attrs.pop(DTYPES, {}).items():
        dtype, column = _described_dtype(description), int(position) - levels
        if column >= 0:
            frame.isetitem(column, frame.iloc[:, column].astype(dtype))
        elif levels == 1:
            frame.index = frame.index.astype(dtype)
    freq = frame.attrs.pop(INDEX_FREQ, None)
    if freq and len(frame):
        frame.index.freq = freq
    return frame


def _describe_dtype(dtype: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        values = pd.DataFrame({"categories": dtype.categories}).to_parquet()
        return {"ordered": dtype.ordered, "categories": base64.b64encode(values).decode()}
    if isinstance(dtype, pd.DatetimeTZDtype) and isinstance(dtype.tz, ZoneInfo):
        return {"unit": dtype.unit, "zone": dtype.tz.key}
    return f"string[{dtype.storage}]" if isinstance(dtype, pd.StringDtype) else str(dtype)


def _described_dtype(description: Any) -> Any:
    if isinstance(description, str):
        return description
    if "zone" in description:
        return pd.DatetimeTZDtype(description["unit"], ZoneInfo(description["zone"]))
    values = pd.read_parquet(io.BytesIO(base64.b64decode(description["categories"])))
    return pd.CategoricalDtype(values["categories"].array, description["ordered"])


def _read_csv(content: bytes, schema: bytes) -> pd.DataFrame:
    template = _read_parquet(schema)
    index = template.index
    dtypes = dict(enumerate(template.reset_index(allow_duplicates=True).dtypes))
    # What read_csv can't make from text by itself.
    later = {
        position: dtype
        for position, dtype in dtypes.items()
        if dtype.kind in "mM" or isinstance(dtype, pd.PeriodDtype)
    }
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
    if isinstance(index, pd.RangeIndex) and (frame.index == range(len(frame))).all():
        frame.index = pd.RangeIndex(len(frame), name=index.name)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        frame.index.freq = index.freq
    frame.attrs = template.attrs
    return frame


def _with_flat_names(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.columns.nlevels == 1:
        return frame
    return frame.set_axis([".".join(map(str, name)) for name in frame.columns], axis=1)


def _for_preview(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame that MLRun can show: the index is a column there, and zones have a name."""
    shown = _with_flat_names(frame).copy(deep=False)
    if set(shown.index.names) & set(shown.columns):
        shown = shown.rename_axis([None] * shown.index.nlevels)
    for position, dtype in enumerate([shown.index.dtype, *shown.dtypes], -1):
        if not isinstance(dtype, pd.DatetimeTZDtype) or hasattr(dtype.tz, "zone"):
            continue
        if position < 0:
            shown.index = shown.index.tz_convert("UTC")
        else:
            shown.isetitem(position, shown.iloc[:, position].dt.tz_convert("UTC"))
    return shown


def _check_same(loaded: pd.DataFrame, saved: pd.DataFrame) -> None:
    """Raise an AssertionError or ValueError that names what would come back changed."""
    with warnings.catch_warnings():
        # Of a missing text, None or NaN, either may come back as the other.
        warnings.simplefilter("ignore", FutureWarning)
        pd.testing.assert_frame_equal(loaded, saved, check_exact=True)
    for position, name in enumerate(saved.columns):
        # Only objects can be equal and of another type.
        if saved.dtypes.iloc[position].kind == "O":
            columns = [map(type, frame.iloc[:, position].dropna()) for frame in (saved, loaded)]
            for before, after in set(zip(*columns, strict=True)):
                if before is not after:
                    what = f"a {before.__name__} would come back as {after.__name__}"
                    raise ValueError(f"in column '{name}' {what}")

"""Data frames, and metrics over steps with a chart, as MLRun dataset artifacts."""

import base64
import io
import math
import warnings
from pathlib import Path
from types import NoneType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from kedro.io import DatasetError
from pandas.api.types import is_any_real_numeric_dtype, is_integer_dtype

from ..lazy import mlrun
from .abstract import MLRunAbstractDataset, file_format, verified_bytes

# Names in a frame's `attrs`, and in the artifact's `extra_data`.
INDEX_FREQ, DTYPES = "kedro-mlrun-index-freq", "kedro-mlrun-dtypes"
HISTORY, SCHEMA = "kedro-mlrun-history", "schema"
NUMPY = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
TYPES: dict[str, Any] = {"int": int, "float": float, "none": NoneType}
TYPES |= {f"numpy.{name}": np.dtype(name).type for name in NUMPY}
NAMES = {type_: name for name, type_ in TYPES.items()}
# Names are shown as they are: a dollar sign is no formula.
STYLE: Any = {"text.parse_math": False, "legend.frameon": False, "agg.path.chunksize": 10_000}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "grid.color": "#e6e6e6"}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
FEW_POINTS, LONGEST_LEGEND = 30, 20
THREADS_FROM = 2**24  # bytes
LARGEST_DRAWN = 1e300  # Beyond this, Matplotlib's own arithmetic overflows.


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

    LOG = ("log_dataset", "DatasetArtifact")

    def _prepare(self, data: Any, temporary: Path, folder: str, arguments: dict[str, Any]) -> None:
        if not isinstance(data, pd.DataFrame):
            raise DatasetError(f"a data frame is expected and this is a {type(data).__name__}")
        super()._prepare(data, temporary, folder, arguments)
        if (schema := temporary / SCHEMA).exists():
            url = f"{folder}/{self.key}.schema.parquet"
            mlrun.get_dataitem(url).put(schema.read_bytes())
            arguments["extra_data"] = {**(arguments.get("extra_data") or {}), SCHEMA: url}
        if data.columns.empty:
            # Of which MLRun fails to make statistics.
            arguments["stats"] = False
        # MLRun uploads the file; the frame is for its preview.
        arguments["df"] = _for_preview(data)

    def _write(self, data: Any, folder: Path) -> Path:
        ending = self._save_args.get("format") or "parquet"
        self._check_names([ending], ["parquet", "csv"], "format")
        file, schema = folder / f"data.{ending}", folder / SCHEMA
        try:
            if ending == "csv":
                # CSV holds no types. They stand beside it, with the first row, for without one
                # Parquet holds no categories.
                _write_parquet(data.iloc[:1], schema)
                _with_flat_names(data).to_csv(file)
                loaded = _read_csv(file.read_bytes(), schema.read_bytes())
            else:
                loaded = _write_parquet(data, file)
            # Of a missing text, None or NaN, either may come back as the other.
            with warnings.catch_warnings(action="ignore", category=FutureWarning):
                pd.testing.assert_frame_equal(loaded, data, check_exact=True)
                # Only objects can be equal and of another type.
                objects = [frame.select_dtypes("object") for frame in (loaded, data)]
                kinds = (frame.map(type).mask(frame.isna()).astype(object) for frame in objects)
                for (name, after), (_, before) in zip(
                    *(each.items() for each in kinds), strict=True
                ):
                    if not after.equals(before):
                        raise ValueError(f"objects of column '{name}' change their types")
        except (AssertionError, ValueError, TypeError, NotImplementedError, OverflowError) as exc:
            reason = " ".join(str(exc).split())
            raise DatasetError(
                f"{ending} can't hold this data frame as it is ({reason}); convert what it names, "
                "or use MLRunAbstractDataset, which keeps any frame"
            ) from None
        return file

    def _read(self, artifact: Any) -> pd.DataFrame:
        if file_format(artifact) in {"parquet", "pq"}:
            return _read_parquet(verified_bytes(artifact, hash_needed=False))
        if schema := artifact.spec.extra_data.get(SCHEMA):
            return _read_csv(verified_bytes(artifact), mlrun.get_dataitem(schema).get())
        # MLRun itself wrote it, without a hash.
        return mlrun.get_dataitem(artifact.target_path).as_df(format=artifact.spec.format or None)


def _write_parquet(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Write a frame, with notes of what Parquet would change, and give what will be read."""
    written = frame.copy(deep=False)
    # A frame's `attrs` travel with it, and so can notes.
    written.attrs = dict(frame.attrs)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and frame.index.freqstr:
        written.attrs[INDEX_FREQ] = frame.index.freqstr
    dtypes = _dtypes(frame)
    categories = {n: getattr(dtype, "categories", None) for n, dtype in dtypes.items()}
    # Parquet takes intervals, but not as categories.
    _cast(written, {n: c.dtype for n, c in categories.items() if isinstance(c, pd.IntervalIndex)})
    written.to_parquet(file)
    after = _dtypes(_read_parquet(file.read_bytes()))
    if changed := {n: _note(dtype) for n, dtype in dtypes.items() if dtype != after[n]}:
        written.attrs[DTYPES] = changed
        written.to_parquet(file)
    return _read_parquet(file.read_bytes())


def _read_parquet(content: bytes) -> pd.DataFrame:
    # Arrow's threads abort a process that ends just after they began; small frames need none.
    large = len(content) > THREADS_FROM
    frame = pd.read_parquet(io.BytesIO(content), use_threads=large, pre_buffer=large)
    _cast(frame, {int(n): _noted(note) for n, note in frame.attrs.pop(DTYPES, {}).items()})
    freq = frame.attrs.pop(INDEX_FREQ, None)
    if freq and len(frame):
        frame.index.freq = freq
    return frame


def _dtypes(frame: pd.DataFrame) -> dict[int, Any]:
    """Give the dtypes of the index's levels and of the columns, by position."""
    return dict(enumerate(frame.reset_index(allow_duplicates=True).dtypes))


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
    return f"string[{dtype.storage}]" if isinstance(dtype, pd.StringDtype) else str(dtype)


def _noted(note: Any) -> Any:
    if isinstance(note, str):
        return note
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
    zones = {n: d for n, d in _dtypes(shown).items() if isinstance(d, pd.DatetimeTZDtype)}
    _cast(shown, {n: f"M8[{d.unit}, UTC]" for n, d in zones.items() if not hasattr(d.tz, "zone")})
    return shown


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
        save_args["db_key"] = f"{self._save_args.get('db_key') or self.key}.chart"
        MLRunAbstractDataset(f"{self.key}.chart", None, save_args)._log(context, image, temporary)

    def _read(self, artifact: Any) -> Any:
        frame = super()._read(artifact)
        notes = frame.attrs.pop(HISTORY, None)
        return _from_frame(frame, notes) if notes else frame


def _to_frame(data: Any) -> pd.DataFrame:
    """Make a history a frame, with notes of how to get the very same back."""
    if isinstance(data, pd.DataFrame):
        dtypes = {f"column '{name}'": dtype for name, dtype in data.dtypes.items()}
        if not isinstance(data.index, pd.DatetimeIndex):
            dtypes["its index"] = data.index.dtype
        for name, dtype in dtypes.items():
            if not is_any_real_numeric_dtype(dtype):
                raise _no_history(name, dtype)
        return data
    form, columns = "names", data
    if type(data) is list:
        form, columns = "list", {"value": data}
    elif type(data) is not dict:
        raise _no_history("the object", type(data).__name__)
    elif not all(type(name) is str for name in data):
        form, columns = "steps", {"steps": list(data), "value": list(data.values())}
    made = {name: _column(name, values) for name, values in columns.items()}
    # A column that is shorter than others is filled up with NaN.
    frame = pd.DataFrame({name: column for name, (column, _) in made.items()})
    frame.columns = frame.columns.astype(object)
    notes: dict[str, Any] = {"form": form, "types": [types for _, types in made.values()]}
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


def _column(name: str, values: Any) -> tuple[pd.Series, list[Any]]:
    """Make a list a column, and give its length and its values' type, or one for each value."""
    if type(values) is not list:
        raise _no_history(f"'{name}'", type(values).__name__)
    for value in values:
        if type(value) not in NAMES:
            raise _no_history(f"{value!r} in '{name}'", type(value).__name__)
    array = np.array([math.nan if value is None else value for value in values])
    names = [NAMES[type(value)] for value in values]
    return pd.Series(array), [len(names), names[0] if len(set(names)) == 1 else names]


def _no_history(what: str, kind: Any) -> DatasetError:
    return DatasetError(
        f"{what} is of type {kind}, and a history is a list of numbers (int, float, None or "
        "NumPy's), a dict of such lists, a dict of numbers by step, or a frame of numbers; let the "
        "node convert it, or use MLRunResult or MLRunDataframeDataset, which draw nothing"
    )


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
        from matplotlib import rc_context
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise DatasetError("its chart needs Matplotlib: pip install matplotlib") from None
    frame = frame.sort_index()
    # The warnings are about letters that the font lacks.
    with rc_context(STYLE), warnings.catch_warnings(action="ignore", category=UserWarning):
        # A figure of its own: `matplotlib.pyplot` would keep it, and may want a screen.
        figure, image = Figure((8, 4.5), layout="constrained"), io.BytesIO()
        axes = figure.subplots()
        for number, (_, column) in enumerate(frame.astype("float64").items()):
            shown = column[column.abs() < LARGEST_DRAWN]
            style = ("-", "--", ":", "-.")[number // 10 % 4]
            marker = "." if len(shown) <= FEW_POINTS else None
            axes.plot(shown.index, shown, ls=style, marker=marker)
        if is_integer_dtype(frame.index):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, pad=12)
        axes.set_xlabel(str(frame.index.name or "step"))
        axes.set_ylabel(str(frame.columns.name or "value"))
        if 1 < len(frame.columns) <= LONGEST_LEGEND:
            figure.legend(axes.lines, map(str, frame.columns), loc="outside right upper")
        figure.savefig(image, format="png", dpi=120, bbox_inches="tight")
    return image.getvalue()

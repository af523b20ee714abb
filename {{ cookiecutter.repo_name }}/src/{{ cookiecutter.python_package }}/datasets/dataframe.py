"""Data frames as MLRun dataset artifacts."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.io import DatasetError

from .artifact import MLRunAbstractDataset, _read_bytes

if TYPE_CHECKING:
    import mlrun
    from mlrun.artifacts import Artifact

INDEX_FREQ = "kedro-mlrun-index-freq"
SCHEMA = "schema"


class MLRunDataframeDataset(MLRunAbstractDataset):
    """A pandas data frame as an MLRun dataset artifact, with MLRun's preview and statistics.

    The frame comes back as it was: dtypes, index, column order, categories, time zones. Before it
    is recorded it is read back and compared; a frame that the format can't hold is refused.

    Args:
        key: as in `MLRunAbstractDataset`.
        load_args: as in `MLRunAbstractDataset`.
        save_args: further arguments of MLRun's `log_dataset`, such as `tag`, `labels`, `stats`,
            `label_column` and `format`: `parquet` (default) or `csv`.
        version: as in `MLRunAbstractDataset`.
        metadata: as in `MLRunAbstractDataset`.

    Example:
        ```yaml
        user_data:
          type: my_project.datasets.MLRunDataframeDataset
          save_args:
            format: csv
        ```

        ```python
        dataset = MLRunDataframeDataset(key="processed_df")
        dataset.save(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
        assert dataset.load().equals(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
        ```
    """

    def _log(self, context: mlrun.MLClientCtx, data: Any, folder: Path) -> None:
        import mlrun
        from mlrun.artifacts import DatasetArtifact

        if not isinstance(data, pd.DataFrame):
            raise DatasetError(
                f"a data frame is expected and this is a {type(data).__name__}; "
                "let the node return a pandas DataFrame, or use MLRunAbstractDataset"
            )
        file_format = self._save_args.get("format") or "parquet"
        if file_format not in {"parquet", "csv"}:
            raise DatasetError(f"format '{file_format}' is not known; use parquet or csv")
        file, schema = folder / f"data.{file_format}", folder / "schema.parquet"
        try:
            if file_format == "csv":
                # CSV holds no types. They stand beside it, with the first row, for without one
                # Parquet holds no categories.
                _write_parquet(data.iloc[:1], schema)
                data.to_csv(file)
                loaded = _read_csv(file.read_bytes(), schema.read_bytes())
            else:
                _write_parquet(data, file)
                loaded = _read_parquet(file.read_bytes())
            _check_same(loaded, data)
        except (AssertionError, ValueError, TypeError, NotImplementedError, OverflowError) as exc:
            reason = " ".join(str(exc).split())
            raise DatasetError(
                f"{file_format} can't hold this data frame as it is ({reason}); convert what it "
                "names to a type that fits, or use MLRunAbstractDataset, which keeps any frame"
            ) from exc
        arguments = self._log_arguments(context, data, context.log_dataset, DatasetArtifact)
        arguments.update(format=file_format, upload=True)
        if file_format == "csv":
            url = f"{arguments['artifact_path']}/{self.key}.schema.parquet"
            mlrun.get_dataitem(url).put(schema.read_bytes())
            arguments["extra_data"] = {**(arguments.get("extra_data") or {}), SCHEMA: url}
        # MLRun uploads the file. From the frame it makes its preview, in which the index is a
        # column, and each column has a name of one level.
        shown = data
        if set(data.index.names) & set(data.columns):
            shown = shown.rename_axis([None] * data.index.nlevels)
        if data.columns.nlevels > 1:
            shown = shown.set_axis([".".join(map(str, name)) for name in data.columns], axis=1)
        with warnings.catch_warnings():
            # Its statistics of booleans, infinities and such.
            warnings.simplefilter("ignore", RuntimeWarning)
            context.log_dataset(self.key, shown, local_path=str(file), **arguments)

    def _read(self, artifact: Artifact) -> pd.DataFrame:
        import mlrun

        if artifact.spec.format in {"parquet", "pq"}:
            return _read_parquet(_read_bytes(artifact))
        schema = artifact.spec.extra_data.get(SCHEMA)
        if schema:
            return _read_csv(_read_bytes(artifact), mlrun.get_dataitem(schema).get())
        # One that MLRun wrote itself.
        frame = mlrun.get_dataitem(artifact.target_path).as_df(format=artifact.spec.format or None)
        if not isinstance(frame, pd.DataFrame):
            raise DatasetError(f"it is a {artifact.kind} and not a data frame")
        return frame


def _write_parquet(frame: pd.DataFrame, file: Path) -> None:
    freq = getattr(frame.index, "freqstr", None)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex) and freq:
        # Parquet has no place for it; a frame's `attrs` travel with it.
        attrs = {**frame.attrs, INDEX_FREQ: freq}
        frame = frame.copy(deep=False)
        frame.attrs = attrs
    frame.to_parquet(file)


def _read_parquet(content: bytes) -> pd.DataFrame:
    frame = pd.read_parquet(io.BytesIO(content))
    freq = frame.attrs.pop(INDEX_FREQ, None)
    if freq and len(frame):
        frame.index.freq = freq
    return frame


def _read_csv(content: bytes, schema: bytes) -> pd.DataFrame:
    template = _read_parquet(schema)
    levels = template.index.nlevels
    flat = template.reset_index(allow_duplicates=True)
    dtypes = dict(enumerate(flat.dtypes))
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
    for position, dtype in later.items():
        frame[position] = frame[position].astype(dtype)
    frame = frame.set_index(list(dtypes)[:levels])
    frame.columns = template.columns
    frame.index.names = template.index.names
    if isinstance(template.index, pd.RangeIndex) and (frame.index == range(len(frame))).all():
        frame.index = pd.RangeIndex(len(frame), name=template.index.name)
    if isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex):
        frame.index.freq = template.index.freq
    frame.attrs = template.attrs
    return frame


def _check_same(loaded: pd.DataFrame, saved: pd.DataFrame) -> None:
    """Raise an AssertionError or ValueError that names what would come back changed."""
    with warnings.catch_warnings():
        # Of a missing text, None or NaN, either may come back as the other.
        warnings.simplefilter("ignore", FutureWarning)
        pd.testing.assert_frame_equal(loaded, saved, check_exact=True)
    for position, dtype in enumerate(saved.dtypes):
        if dtype.kind != "O":
            continue
        pairs = zip(saved.iloc[:, position], loaded.iloc[:, position], strict=True)
        for before, after in pairs:
            if after is not None and type(after) is not type(before):
                raise ValueError(
                    f"in column '{saved.columns[position]}' a {type(before).__name__} "
                    f"would come back as {type(after).__name__}"
                )

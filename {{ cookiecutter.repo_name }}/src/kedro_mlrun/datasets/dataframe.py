"""Data frames as MLRun dataset artifacts."""

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError

from ..lazy import mlrun, mlrun_loaded
from ..store.rows import Record
from . import formats
from .abstract import MLRunAbstractDataset, file_format, type_label
from .files import verified_bytes, write
from .preview import MAX_LENGTH, ROWS, preview_fields

SCHEMA = "schema"  # in the artifact's `extra_data`: the types of a CSV's columns
LIMITS = ("stats", "preview", "ignore_preview_limits")


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
        limits = {name: arguments.pop(name) for name in LIMITS if name in arguments}
        label, shown = arguments.pop("label_column", None), data
        if len(data) >= MAX_LENGTH and not any(map(limits.get, ("stats", "ignore_preview_limits"))):
            # Of a large frame MLRun shows the first rows, and makes no statistics.
            shown, limits["stats"] = data.head(limits.get("preview") or ROWS), False
        if loaded := mlrun_loaded():
            limits["max_columns"] = loaded.mlconf.artifacts.datasets.max_preview_columns
        shown = _for_preview(shown)
        if label is not None and label not in shown.columns:
            known = ", ".join(map(str, shown.columns))
            raise DatasetError(f"label_column '{label}' is no column of the data frame: {known}")
        try:
            fields = preview_fields(shown, **limits)
        except Exception as error:
            message = "'%s' is recorded without preview and statistics, which can't be made: %s"
            logging.getLogger(__name__).warning(message, self.key, error)
            fields = preview_fields(pd.DataFrame(), stats=False)
            fields["spec"]["header"] = [*shown.columns]
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

    def _write(self, data: Any, folder: Path) -> Path:
        ending = self._save_args.get("format") or "parquet"
        self._check_names([ending], ["parquet", "csv"], "format")
        file, schema = folder / f"data.{ending}", folder / SCHEMA
        try:
            if unkept := [n for n, each in data.attrs.items() if not formats.is_kept(n, each)]:
                raise ValueError(f"JSON can't keep {unkept} of its attrs as they are")
            if ending == "csv":
                # CSV holds no types. They stand beside it, with the first row, for without one
                # Parquet holds no categories.
                formats.write_parquet(data.iloc[:1], schema, checked=False)
                data.set_axis(formats.plain_names(data), axis=1).to_csv(file)
                formats.compare(data, formats.read_csv(file.read_bytes(), schema.read_bytes()))
            else:
                formats.write_parquet(data, file)
        except formats.NOT_HELD as exc:
            reason = " ".join(str(exc).split())
            raise DatasetError(
                f"{ending} can't hold this data frame as it is ({reason}); convert what it names, "
                "or use MLRunAbstractDataset, which keeps any frame"
            ) from None
        return file

    def _read(self, artifact: Record) -> pd.DataFrame:
        if file_format(artifact) in {"parquet", "pq"}:
            frame = formats.read_parquet(verified_bytes(artifact, hash_needed=False))
        elif schema := (artifact["spec"].get("extra_data") or {}).get(SCHEMA):
            digest = re.search(r"\.([0-9a-f]{40})\.schema\.", schema)  # not in earlier versions
            types = verified_bytes(artifact, schema, False, digest[1] if digest else "")
            frame = formats.read_csv(verified_bytes(artifact), types)
        else:
            # MLRun itself wrote it, without a hash.
            file = mlrun.get_dataitem(artifact["spec"]["target_path"])
            frame = file.as_df(format=artifact["spec"].get("format") or None)
        return formats.as_class(frame, type_label(artifact))


def _for_preview(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame that MLRun can show: the index is a column there, and zones have a name."""
    shown, columns = frame, frame.columns
    if type(columns) is not pd.Index or columns.inferred_type != "string":
        shown = frame.set_axis(formats.plain_names(frame), axis=1, copy=False)
    if {*shown.index.names} & {*shown.columns}:
        shown = shown.rename_axis([None] * shown.index.nlevels)
    zones = {n: d for n, d in formats.dtypes_of(shown).items() if isinstance(d, pd.DatetimeTZDtype)}
    if unnamed := {n: d for n, d in zones.items() if not hasattr(d.tz, "zone")}:
        shown = shown.copy(deep=False)
        formats.cast(shown, {n: f"M8[{d.unit}, UTC]" for n, d in unnamed.items()})
    return shown

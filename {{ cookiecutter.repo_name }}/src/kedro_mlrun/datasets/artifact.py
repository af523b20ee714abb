"""Files of any Kedro dataset as MLRun artifacts."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kedro.io import AbstractDataset, DatasetError, Version

from ..store.rows import Record
from .abstract import MLRunAbstractDataset, file_format
from .files import verified_file


class MLRunArtifactDataset(MLRunAbstractDataset):
    """The file that another Kedro dataset writes, as an MLRun artifact in that file's own format.

    Of the wrapped dataset's `filepath` only the name counts: its ending is the artifact's format
    and tells MLRun's UI how to show it (png, jpg, html, csv, json, yaml, txt).

    A dataset that can only write, such as `matplotlib.MatplotlibDataset`, can't be loaded;
    `MLRunAbstractDataset` with the same key gives the file's bytes. The file is there only during
    the load, so a lazy dataset can't open it later.

    Args:
        dataset: the wrapped dataset, as a catalog entry of its own: `type`, `filepath`, and what
            else that type takes, except `credentials` and `versioned`.
        key: as for `MLRunAbstractDataset`, and so are `load_args`, `version` and `metadata`. A
            `path` in `load_args` is a `store://` URI.
        save_args: further arguments of MLRun's `log_artifact`, such as `tag`, `labels` or `viewer`;
            those of the wrapped dataset stand in `dataset`.

    Example:
        ```yaml
        report:
          type: kedro_mlrun.MLRunArtifactDataset
          dataset:
            type: json.JSONDataset
            filepath: report.json
        ```

        ```python
        dataset = MLRunArtifactDataset({"type": "json.JSONDataset", "filepath": "a.json"}, "report")
        dataset.save({"rows": 569})
        assert dataset.load() == {"rows": 569}
        ```
    """

    READS_FILES = False

    def __init__(
        self,
        dataset: dict[str, Any],
        key: str | None = None,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(key, load_args, save_args, version, metadata)
        self._dataset = dict(dataset) if isinstance(dataset, dict) else {}
        kind, path = self._dataset.get("type"), str(self._dataset.get("filepath") or "")
        self._type = str(getattr(kind, "__name__", kind))
        self._file_name = Path(path).name
        of_mlrun = {"credentials", "versioned"} & self._dataset.keys()
        of_mlrun |= {"format"} & self._save_args.keys()
        if of_mlrun or "://" in path or not (kind and self._file_name.strip(".")):
            raise DatasetError(
                f"MLRunArtifactDataset '{key}': `dataset` needs a `type` and, as `filepath`, a "
                "file's name whose ending is the format: report.json. MLRun keeps the file and its "
                "versions. Leave `credentials` and `versioned` out of `dataset`, and `format` out "
                "of save_args, where `artifact_path` may name a place."
            )
        # So that a mistake in it stops a run at its start.
        self._wrapped(Path(self._file_name))

    def _wrapped(self, file: Path) -> AbstractDataset[Any, Any]:
        return AbstractDataset.from_config(self.key, self._dataset | {"filepath": file.as_posix()})

    def _describe(self) -> dict[str, Any]:
        # Not all of it, for its arguments may hold a password.
        return super()._describe() | {"dataset": {"type": self._type, "filepath": self._file_name}}

    def _write(self, data: Any, folder: Path) -> Path:
        file = folder / self._file_name
        self._wrapped(file).save(data)
        written = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        if written != [self._file_name]:
            names = ", ".join(written) or "nothing"
            raise DatasetError(
                f"{self._type} has written {names}, and an artifact is one file; save one object"
            )
        return file

    def _read(self, artifact: Record) -> Any:
        if (kind := artifact["kind"]) in {"dir", "model"}:
            kind = f"it is of kind '{kind}' and not a file"
            raise DatasetError(f"{kind}. Load it with the dataset that saved it")
        # An earlier run may have saved another format, and some datasets go by the ending.
        ending = file_format(artifact)
        with TemporaryDirectory() as folder:
            file = Path(folder, self._file_name).with_suffix(f".{ending}" if ending else "")
            # Only the wrapped dataset knows whether its format can run code: the hash must fit.
            with verified_file(artifact) as stream, file.open("wb") as copy:
                shutil.copyfileobj(stream, copy)
            try:
                return self._wrapped(file).load()
            except DatasetError as exc:
                path, reason = artifact["spec"].get("target_path"), exc.__cause__ or exc
                raise DatasetError(
                    f"{self._type} fails to read {path} ({reason}); "
                    "MLRunAbstractDataset with this key gives the file's bytes"
                ) from None

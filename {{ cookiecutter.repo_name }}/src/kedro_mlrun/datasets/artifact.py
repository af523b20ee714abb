"""Files of any Kedro dataset as MLRun artifacts."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset, DatasetError, Version

from .abstract import MLRunAbstractDataset, verified_bytes

if TYPE_CHECKING:
    import mlrun
    from mlrun.artifacts import Artifact


class MLRunArtifactDataset(MLRunAbstractDataset):
    """The file that another Kedro dataset writes, as an MLRun artifact in that file's own format.

    The wrapped dataset writes to a folder of passage, and the file becomes the artifact: of its
    `filepath` only the name counts, whose ending is the artifact's format and tells MLRun's UI how
    to show it (png, jpg, html, csv, json, yaml, txt). Loading checks that the bytes have the hash
    that was recorded with them, and gives what the wrapped dataset reads from them.

    A dataset that can only write, such as `matplotlib.MatplotlibDataset`, can't be loaded;
    `MLRunAbstractDataset` with the same key gives the file's bytes. The file is there only while it
    is loaded: what a lazy dataset opens later is gone.

    Args:
        dataset: the wrapped dataset, as a catalog entry of its own: `type`, `filepath`, and what
            else that type takes, but for `credentials` and `versioned`.
        key: as in `MLRunAbstractDataset`.
        load_args: as in `MLRunAbstractDataset`; those of the wrapped dataset stand in `dataset`.
        save_args: further arguments of MLRun's `log_artifact`, such as `tag`, `labels` or `viewer`;
            those of the wrapped dataset stand in `dataset`.
        version: as in `MLRunAbstractDataset`.
        metadata: as in `MLRunAbstractDataset`.

    Raises:
        DatasetError: the wrapped dataset can't be made, has no `filepath`, or has `credentials` or
            `versioned`.

    Example:
        ```yaml
        report:
          type: kedro_mlrun.MLRunArtifactDataset
          dataset:
            type: json.JSONDataset
            filepath: report.json
            save_args:
              indent: 2
        ```

        ```python
        dataset = MLRunArtifactDataset(
            {"type": "json.JSONDataset", "filepath": "report.json"}, key="report"
        )
        dataset.save({"rows": 569})
        assert dataset.load() == {"rows": 569}
        ```
    """

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
        if not isinstance(dataset, dict) or not dataset.get("type"):
            raise self._refusal(
                "`dataset` describes no dataset",
                "Give it the `type` and `filepath` of the dataset whose file becomes the artifact.",
            )
        self._dataset = dict(dataset)
        self._type = str(getattr(dataset["type"], "__name__", dataset["type"]))
        path = str(dataset.get("filepath") or "")
        self._name = Path(path).name
        if not self._name.strip("."):
            raise self._refusal(
                f"{self._type} has no filepath that names a file",
                "Set `filepath` in `dataset` to a file's name, such as report.json.",
            )
        if "://" in path or "credentials" in dataset:
            raise self._refusal(
                f"{self._type} has a filepath or credentials of another store",
                "MLRun keeps the file: name only the file, and set `artifact_path` in `save_args` "
                "for another place.",
            )
        if "versioned" in dataset:
            raise self._refusal(
                f"{self._type} has `versioned`, and MLRun keeps the versions",
                "Leave it out.",
            )
        if "format" in self._save_args:
            raise self._refusal(
                "`format` in save_args has no effect, for the file's name tells it",
                "Change the ending of `filepath` in `dataset`.",
            )
        # So that a mistake in it stops a run at its start.
        self._wrapped(Path(self._name))

    def _refusal(self, what: str, advice: str) -> DatasetError:
        return DatasetError(f"{type(self).__name__} '{self.key}': {what}. {advice}")

    def _wrapped(self, file: Path) -> AbstractDataset[Any, Any]:
        """Make the wrapped dataset for a file."""
        config = {**self._dataset, "filepath": file.as_posix()}
        return AbstractDataset.from_config(str(self.key), config)

    def _describe(self) -> dict[str, Any]:
        # Not all of it, for its arguments may hold a password.
        wrapped = {"type": self._type, "filepath": self._name}
        return {**super()._describe(), "dataset": wrapped}

    def _log(self, context: mlrun.MLClientCtx, data: Any, folder: Path) -> None:
        from mlrun.artifacts import Artifact

        file = folder / self._name
        try:
            self._wrapped(file).save(data)
        except DatasetError as exc:
            raise DatasetError(f"{self._type} fails to write it: {_reason(exc)}") from exc
        written = sorted(path.name for path in folder.iterdir())
        if written != [self._name] or not file.is_file():
            found = f"the files {', '.join(written)}" if written else "nothing"
            if file.is_dir():
                found = f"a folder, {self._name}"
            raise DatasetError(
                f"{self._type} has written {found}, and an artifact of this dataset is one file; "
                "save one object, or give each file an entry of its own"
            )
        arguments = self._log_arguments(context, data, context.log_artifact, Artifact)
        arguments.update(format=file.suffix.removeprefix("."), upload=True)
        self._call(context.log_artifact, local_path=str(file), **arguments)

    def _read(self, artifact: Artifact) -> Any:
        if artifact.kind in {"dir", "model"}:
            raise DatasetError(f"it is of kind '{artifact.kind}' and not a file")
        # Always, for which formats can run code only the wrapped dataset knows.
        content = verified_bytes(artifact)
        # Of an earlier run the format may be another one, and some datasets go by it.
        ending = Path(artifact.target_path).suffix
        if artifact.spec.format:
            ending = f".{artifact.spec.format}"
        with TemporaryDirectory() as folder:
            file = Path(folder, self._name).with_suffix(ending)
            file.write_bytes(content)
            try:
                return self._wrapped(file).load()
            except DatasetError as exc:
                raise DatasetError(
                    f"{self._type} fails to read {artifact.target_path}: {_reason(exc)}. "
                    "MLRunAbstractDataset with this key gives the file's bytes"
                ) from exc


def _reason(error: DatasetError) -> str:
    """Give what went wrong, without what Kedro says of the folder of passage."""
    return str(error.__cause__ or error).rstrip(".")

"""The base of the datasets: any object as an MLRun artifact."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError, Version

from ..runs.dataset import RunDataset
from ..runs.manager import MLRunContextManager, chain_id
from ..store.files import run_folder

if TYPE_CHECKING:
    import mlrun
    from mlrun.artifacts import Artifact

TYPE_LABEL = "python-type"
"""The label that tells which type was saved, and so how the bytes are to be read."""

# MLRun's own rule for keys (mlrun.utils.regex.artifact_key).
KEY_PATTERN = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
TEXT_FORMATS = ("txt", "html", "md", "csv", "yaml", "yml", "xml", "log")


class MLRunAbstractDataset(RunDataset):
    """Any object as an MLRun artifact; the base of the other datasets.

    Text and bytes are kept as they are, what JSON can hold as JSON, and everything else pickled. A
    pickle is read only when its bytes have the hash that was recorded with them.

    Without anything in `load_args`, loading gives what the run that is going on has saved, and
    otherwise the artifact that was saved last; in a chain of runs (`kedro run --chain-id`) that of
    the chain. What comes from an earlier run becomes an input of the one that is going on. Saving
    always goes to the run that is going on.

    Args:
        key: the artifact's key in MLRun: letters, digits, hyphens, underscores and dots. In a
            catalog it is the entry's name by default. For loading it may also be a `store://` URL,
            or a key as MLRun itself writes them (`generate-data-main_user_data`).
        load_args: which version to load: `tag`, `uid` (of the artifact, or of the run that saved
            it), `tree` (the run's or the workflow's id), `iter` and `project`, as in MLRun's
            `get_artifact`; or, instead of these, `path`: a file, a URL or a `store://` URI to load
            from. A file without a record has no hash, so that no pickle is read from it.
        save_args: further arguments of MLRun's `log_artifact`, such as `tag`, `labels` or `format`
            (how the file's name ends).
        version: Kedro's version, given by `kedro run --load-versions=NAME:VERSION`: the id of the
            run that saved it, or a tag.
        metadata: anything; for other tools.

    Raises:
        DatasetError: an argument can't be used.

    Example:
        ```yaml
        config_data:
          type: kedro_mlrun.MLRunAbstractDataset
        ```

        ```python
        dataset = MLRunAbstractDataset(key="config_data")
        dataset.save({"param1": "value1", "param2": 42})
        assert dataset.load() == {"param1": "value1", "param2": 42}
        ```
    """

    LOAD_ARGS: tuple[str, ...] = ("tag", "uid", "tree", "iter", "project", "path")

    versioned = True
    """Kedro gives each dataset of a class that has this its load version."""

    def __init__(
        self,
        key: str | None = None,
        load_args: dict[str, Any] | None = None,
        save_args: dict[str, Any] | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.key = key
        self.metadata = metadata
        self._load_args = dict(load_args or {})
        self._save_args = dict(save_args or {})
        self._version = version
        unknown = set(self._load_args) - set(self.LOAD_ARGS)
        if unknown:
            raise DatasetError(
                f"{type(self).__name__} '{key}' doesn't take {_names(unknown)} in load_args. "
                f"Use one of {', '.join(self.LOAD_ARGS)}."
            )

    @property
    def _manager(self) -> MLRunContextManager:
        # Asked for each time: the dataset may have been sent to another process.
        return MLRunContextManager()

    def _describe(self) -> dict[str, Any]:
        return {"key": self.key, "load_args": self._load_args, "save_args": self._save_args}

    # ---- saving

    def save(self, data: Any) -> None:
        """Record an object in the run that is going on.

        Args:
            data: the object.

        Raises:
            DatasetError: the key is missing or unsafe, the object can't be kept as it is, an
                argument in `save_args` is unknown, or the store can't be written to.
        """
        with self._explained("saved"), TemporaryDirectory() as folder:
            self._check_key()
            with self._manager.recording(self.run_id) as context:
                self._log(context, data, Path(folder))

    def _log(self, context: mlrun.MLClientCtx, data: Any, folder: Path) -> None:
        """Write the object to a file in a folder of passage, and log that file."""
        from mlrun.artifacts import Artifact

        content, file_format = _encode(data, self._save_args.get("format"))
        # The bytes go through a file because MLRun takes an empty body for none.
        file = folder / f"data.{file_format}"
        file.write_bytes(content)
        arguments = self._log_arguments(context, data, context.log_artifact, Artifact)
        arguments.update(format=file_format, upload=True)
        self._call(context.log_artifact, local_path=str(file), **arguments)

    def _call(self, log: Callable[..., Any], **arguments: Any) -> None:
        """Call one of MLRun's log functions; what it has written when it fails is removed."""
        try:
            log(self.key, **arguments)
        except BaseException:
            path = arguments["artifact_path"]
            written = list(Path(path).rglob("*")) if "://" not in path else []
            for file in written:
                # Nothing of an earlier save: a run keeps those of one key in folders of their own.
                if file.name == self.key or file.stem in {self.key, f"{self.key}.schema"}:
                    shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
            raise

    def _log_arguments(
        self, context: mlrun.MLClientCtx, data: Any, log: Callable[..., Any], kind: type[Artifact]
    ) -> dict[str, Any]:
        """Check `save_args`, and add what each of MLRun's log functions is to be told."""
        # What MLRun's function doesn't name itself it hands on to the artifact's class.
        known = {*inspect.signature(log).parameters, *inspect.signature(kind).parameters}
        ours = {"item", "key", "body", "df", "local_path", "src_path", "model_dir", "model_file"}
        ours |= {"is_inline", "project"}
        unknown = set(self._save_args) - (known - ours - {"kwargs"})
        if unknown:
            raise DatasetError(f"MLRun's {log.__name__} doesn't take {_names(unknown)}")
        labels = self._save_args.get("labels") or {}
        if not isinstance(labels, dict):
            # A list of names, as the documentation of the published datasets has it.
            labels = dict.fromkeys(map(str, labels), "true")
        target = self._save_args.get("target_path")
        if target and context.uid not in target:
            raise DatasetError(
                f"the next run would overwrite target_path {target}; use artifact_path, below "
                "which each run has a folder of its own"
            )
        path = run_folder(
            self._save_args.get("artifact_path") or context.artifact_path, context.uid
        )
        if self.key in context.artifact_uris:
            # A second version from the same run must not touch the bytes of the first.
            path = f"{path}/{uuid.uuid4().hex[:8]}"
        return {
            "db_key": self.key,
            **self._save_args,
            "labels": {**labels, TYPE_LABEL: _type_name(data)},
            "artifact_path": path,
        }

    def _check_key(self) -> None:
        if not KEY_PATTERN.fullmatch(self._named()):
            raise DatasetError(
                "a key to save under has letters, digits, hyphens, underscores and dots, "
                "with a letter or digit at each end"
            )

    def _named(self) -> str:
        if not self.key or not isinstance(self.key, str):
            raise DatasetError("the dataset has no key; give it `key`, or a name in the catalog")
        return self.key

    # ---- loading

    def load(self) -> Any:
        """Give back what was saved.

        Returns:
            An object equal to the one that was saved.

        Raises:
            DatasetError: there is no such artifact, its bytes are missing, or they aren't those
                that were recorded.
        """
        with self._explained("loaded"):
            found = self._find()
            data = self._read(found)
            self._note_input(found)
            return data

    def _read(self, artifact: Artifact) -> Any:
        type_name = (artifact.labels or {}).get(TYPE_LABEL)
        suffix = Path(artifact.target_path or "").suffix.removeprefix(".")
        return _decode(artifact, type_name, artifact.spec.format or suffix)

    def _note_input(self, artifact: Artifact) -> None:
        """Make what an earlier run saved an input of the run that is going on."""
        if not artifact.uid:
            # A file without a record.
            return
        current = self._manager.current_of(self.run_id) if self.run_id else None
        producer = (artifact.producer or {}).get("uri", "").rpartition("/")[2]
        if current is not None and producer != current.uid:
            # With its uid, and without a tag, which may move on to a later version.
            uri = artifact.get_store_url(with_tag=False)
            self._manager.add_input(artifact.spec.db_key, uri, self.run_id)

    def _exists(self) -> bool:
        try:
            with self._explained("looked for"):
                found = self._find()
        except DatasetError as exc:
            if _is_not_found(exc.__context__):
                return False
            raise
        path = getattr(found, "target_path", None)
        return not path or "://" in path or Path(path).exists()

    def _find(self) -> Artifact:  # noqa: PLR0911 each way to name a version ends here
        """Find the record of the artifact to load."""
        import mlrun

        name = self._named()
        project = self._load_args.get("project") or self._manager.project.metadata.name
        version = self._version and self._version.load
        path = self._load_args.get("path") or name
        if mlrun.datastore.is_store_uri(path):
            if {*self._load_args} - {"path"} or version:
                raise DatasetError("a store:// URL says by itself which version; leave others out")
            return _found(mlrun.datastore.get_store_resource(path, project=project), path)
        if path != name:
            return mlrun.artifacts.Artifact(key=name, target_path=path)
        key = str(self._save_args.get("db_key") or name)
        if version:
            return self._of_run_or_tag(key, project, version)

        args = {name: self._load_args.get(name) for name in ("tag", "uid", "tree", "iter")}
        if not any(value is not None for value in args.values()):
            current = self._manager.current_of(self.run_id)
            uri = current.artifact_uris.get(name) if current else None
            if uri and not self._load_args.get("project"):
                return _of_uri(uri)
            args["tree"] = None if self._load_args else chain_id() or None
        if args["tree"]:
            return self._of_tree(key, project, args)
        iteration = args["iter"]
        # MLRun's API can't choose between the iterations of a run; 0 means the best of them.
        args["iter"] = 0 if iteration is None and not args["uid"] else iteration
        try:
            return self._read_artifact(key, project, args)
        except mlrun.errors.MLRunNotFoundError:
            if not args["uid"] or args["tag"]:
                raise
        return self._of_run(key, project, args["uid"], iteration or 0)

    @staticmethod
    def _read_artifact(key: str, project: str, args: dict[str, Any]) -> Artifact:
        import mlrun

        record = mlrun.get_run_db().read_artifact(key, project=project, **args)
        return mlrun.artifacts.dict_to_artifact(record)

    def _of_run_or_tag(self, key: str, project: str, version: str) -> Artifact:
        import mlrun

        try:
            return self._of_run(key, project, version)
        except mlrun.errors.MLRunNotFoundError:
            return self._read_artifact(key, project, {"tag": version, "iter": 0})

    @staticmethod
    def _of_run(key: str, project: str, uid: str, iteration: int = 0) -> Artifact:
        import mlrun

        run = mlrun.get_run_db().read_run(uid, project, iter=iteration)
        for uri in (run["status"].get("artifact_uris") or {}).values():
            if mlrun.utils.parse_artifact_uri(mlrun.datastore.parse_store_uri(uri)[1])[1] == key:
                return _of_uri(uri)
        raise mlrun.errors.MLRunNotFoundError(f"run {uid} has no artifact '{key}'")

    @staticmethod
    def _of_tree(key: str, project: str, args: dict[str, Any]) -> Artifact:
        import mlrun

        # Not read_artifact: MLRun's API then looks only at what is the latest of all trees.
        found = mlrun.get_run_db().list_artifacts(
            key,
            project,
            tag=args["tag"],
            iter=args["iter"],
            tree=args["tree"],
            best_iteration=args["iter"] is None,
        )
        found = [record for record in found if args["uid"] in {None, record["metadata"]["uid"]}]
        if not found:
            what = "chain" if args["tree"] == chain_id() else "tree"
            raise mlrun.errors.MLRunNotFoundError(f"{what} {args['tree']} has no artifact '{key}'")
        newest = max(found, key=lambda record: str(record["metadata"].get("updated")))
        return mlrun.artifacts.dict_to_artifact(newest)

    # ---- errors

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn what goes wrong into one DatasetError that names key, project and store."""
        try:
            yield
        except Exception as exc:
            not_found = _is_not_found(exc)
            # Of these the message says all; what is behind others may be of use.
            expected = not_found or isinstance(exc, DatasetError)
            advice = "Check the dataset's entry in the catalog."
            if not_found:
                advice = (
                    "Run the pipeline that saves it, or check `key`, `load_args` and the project."
                )
                if self._version and self._version.load:
                    advice = "Give `--load-versions` the whole id of a run that saved it, or a tag."
                elif chain_id() and not self._load_args:
                    advice = (
                        f"Run the pipeline that saves it with `--chain-id {chain_id()}`, or choose "
                        "a version by `load_args` or `--load-versions`."
                    )
            try:
                location = self._manager.location
            except Exception:
                # MLRun connects while it is imported; the reason says what came of that.
                location = "MLRun"
            reason = (str(exc) or type(exc).__name__).rstrip(".")
            raise DatasetError(
                f"'{self.key}' can't be {action} in {location}: {reason}. {advice}"
            ) from (None if expected else exc)


def _is_not_found(exc: BaseException | None) -> bool:
    # Not by the class, for which MLRun would have to be imported, which may be what failed.
    return getattr(exc, "error_status_code", None) == HTTPStatus.NOT_FOUND


def verified_bytes(artifact: Artifact, file: str | None = None) -> bytes:
    """Read an artifact's bytes, and make sure that they are those that were recorded.

    Args:
        artifact: the artifact's record.
        file: the file that its hash is of; by default its target path.

    Returns:
        The bytes.

    Raises:
        DatasetError: the record has no hash, or another one than the bytes.
    """
    content = _read_bytes(artifact, file)
    recorded = artifact.metadata.hash
    # SHA-1, because that is what MLRun records. Made-up bytes with a given SHA-1 are out of reach.
    found = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if recorded != found:
        raise DatasetError(
            f"{file or artifact.target_path} has the hash {found} and not {recorded}, which was "
            "recorded for it, so it isn't read. Restore the file, or save the artifact anew"
        )
    return content


def _read_bytes(artifact: Artifact, file: str | None = None) -> bytes:
    import mlrun

    if artifact.is_inline():
        body = artifact.get_body()
        return body.encode() if isinstance(body, str) else body
    path = file or artifact.target_path
    try:
        content = mlrun.get_dataitem(path).get()
    except FileNotFoundError as exc:
        raise DatasetError(f"its file {path} is gone") from exc
    return content.encode() if isinstance(content, str) else content


def _encode(data: Any, file_format: str | None) -> tuple[bytes, str]:
    """Give an object's bytes and the format that tells how to read them."""
    if type(data) is bytes:
        return data, file_format or "bin"
    if type(data) is str:
        return data.encode(errors="surrogatepass"), file_format or "txt"
    if file_format not in {None, "json", "pkl"}:
        raise DatasetError(
            f"format '{file_format}' is for text or bytes, and this is a {_type_name(data)}; "
            "let the node return one of those, or leave `format` out"
        )
    if _is_json(data) and file_format != "pkl":
        return json.dumps(data, indent=2).encode(), "json"
    if file_format == "json":
        raise DatasetError(f"JSON can't hold this {_type_name(data)} as it is; leave `format` out")
    try:
        return pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL), "pkl"
    except Exception as exc:
        raise DatasetError(
            f"a {_type_name(data)} can't be pickled ({exc}); "
            "let the node return its content in plain types"
        ) from exc


def _decode(artifact: Artifact, type_name: str | None, file_format: str) -> Any:
    is_text = type_name == "builtins.str" or (not type_name and file_format in TEXT_FORMATS)
    if is_text:
        return _read_bytes(artifact).decode(errors="surrogatepass")
    if type_name != "builtins.bytes" and file_format == "json":
        return json.loads(_read_bytes(artifact))
    if type_name != "builtins.bytes" and file_format == "pkl":
        return pickle.loads(verified_bytes(artifact))  # noqa: S301 verified one call before
    return _read_bytes(artifact)


def _is_json(data: Any) -> bool:
    """Tell whether JSON gives back the very same: no tuples, no keys but text, no subclasses."""
    if type(data) is list:
        return all(map(_is_json, data))
    if type(data) is dict:
        return all(type(key) is str and _is_json(value) for key, value in data.items())
    return data is None or type(data) in {str, int, float, bool}


def _type_name(data: Any) -> str:
    return f"{type(data).__module__}.{type(data).__qualname__}"


def _names(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _of_uri(uri: str) -> Artifact:
    import mlrun

    # Without the tag, which may have moved on to a later version: tree and uid name this one.
    uri = mlrun.utils.remove_tag_from_artifact_uri(uri) or uri
    return _found(mlrun.datastore.get_store_resource(uri), uri)


def _found(resource: Any, uri: str) -> Artifact:
    import mlrun

    if not isinstance(resource, mlrun.artifacts.Artifact):
        raise DatasetError(f"{uri} is not an artifact")
    return resource

"""A run's context on an embedded store, which records what MLRun's own does without MLRun."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..lazy import mlrun
from .fields import artifact_uri, as_json
from .rows import Record, now
from .store import Store

# MLRun's versions with which both contexts were found to record the same.
TESTED = ("1.12.0", "1.12.1")
# What is empty in the `spec` of a new run.
EMPTY = (
    "inputs state_thresholds node_selector tolerations affinity auth retry hyperparams "
    "hyper_param_options"
)
FEW = 20  # changes after which a record is written whole, if it hasn't many more parts
# What the worker processes of a run may add to.
ADDED = [("metadata", "annotations"), ("spec", "inputs")]
ADDED += [("status", "results"), ("status", "artifact_uris")]
# What a context writes of a run's record, beside what others have changed there since.
DICTS = [*ADDED, ("metadata", "labels"), ("spec", "parameters")]
OTHERS = [("spec", "outputs"), ("status", "start_time"), ("status", "last_update")]
OTHERS += [("status", "state"), ("status", "error")]
# What a model's specification is without: where the model is from, and where it lies.
OF_THE_RUN = {"tag", "tree", "producer", "sources", "src_path", "target_path"}
JSON = {type(None), bool, int, float, str, list, dict}


def is_tested() -> bool:
    """Tell whether the records of the installed MLRun are known to be those of `RunContext`."""
    return version("mlrun") in TESTED


def new_record(
    metadata: Record, output_path: str, parameters: Record, **others_of_spec: Any
) -> Record:
    """Give the record that MLRun gives a new run."""
    labels = {"kind": "local", **metadata["labels"], "host": socket.gethostname()}
    begun = now()
    spec: Record = {"function": "", "log_level": "info", "handler": None}
    spec |= {"parameters": parameters, "output_path": output_path}
    spec |= {name: {} for name in EMPTY.split()}
    spec |= {name: list[Any]() for name in ("outputs", "notifications", "data_stores")}
    spec |= others_of_spec
    status: Record = {"state": "running", "start_time": begun, "last_update": begun}
    status |= {"results": {}, "artifact_uris": {}, "retry_count": None, "retries": []}
    return {
        "kind": "run",
        "metadata": {"iteration": 0, "annotations": {}, **metadata, "labels": labels},
        "spec": spec,
        "status": status,
    }


class RunContext:
    """What logs to a run of an embedded store: MLRun's context (`mlrun.MLClientCtx`), but lighter.

    What it has goes by MLRun's names, and means the same. For everything else there is `full`.

    Args:
        record: the run's record.
        store: where it and its artifacts are written to.
        connect: points MLRun to the store, before `full` is made.
        sends: False for a worker's copy, which adds to the run and doesn't end it.
    """

    kind = "run"
    is_latest = True  # what it saves is, of its key

    def __init__(
        self, record: Record, store: Store, connect: Callable[[], object], sends: bool = True
    ) -> None:
        self.record, self._store, self._connect = record, store, connect
        self._rundb = store if sends else None
        self._full: Any = None
        self._version: tuple[Any, ...] = ()  # of the record as this context has written or read it
        self._changes = 0  # since then
        self._added: Record = {}  # what isn't written yet
        self._others: tuple[Any, ...] = ()  # what there was beside it
        self._sent: dict[tuple[str, str], set[str]] = {}  # the names in each of `DICTS`, by then
        metadata = record["metadata"]
        self._uid, self.iteration = str(metadata["uid"]), int(metadata.get("iteration") or 0)
        self._place = self._uid, str(metadata["project"]), self.iteration
        self.uid = f"{self._uid}-{self.iteration}" if self.iteration else self._uid
        self.name, self.project = str(metadata["name"]), str(metadata["project"])
        self.artifact_path = str(record["spec"].get("output_path") or "")
        dicts = [record[part].setdefault(name, {}) for part, name in DICTS]
        self.annotations, self.inputs, self._results, self.artifact_uris = dicts[: len(ADDED)]
        self.labels, self._parameters = dicts[len(ADDED) :]
        self._annotations = self.annotations

    @classmethod
    def open(cls, store: Store, record: Record, connect: Callable[[], object]) -> RunContext:
        """Open a run with its record, a new one or an earlier one, and write that."""
        made = cls(record, store, connect)
        store.store_run(record, made._uid, made.project)
        made._version = store.run_version(*made._place)
        made._has_written()
        return made

    def __getattr__(self, name: str) -> Any:
        # Only for what isn't here.
        return getattr(self.full, name)

    @property
    def full(self) -> Any:
        """MLRun's own context of this run. What is logged to either is in both."""
        if self._full is None:
            self._connect()
            db = mlrun.get_run_db()
            shared = mlrun.MLClientCtx.from_dict(
                self.record, db, autocommit=True, store_run=False, include_status=True
            )
            # These it copies; the others are the record's own.
            shared._inputs = self.inputs
            shared._artifacts_manager.artifact_uris = self.artifact_uris
            shared._rundb = _Shared(db, self)
            self._full = shared
        return self._full

    def is_of(self, context: Any) -> bool:
        """Tell whether MLRun's context is that of this run."""
        return self._full is not None and self._full is context

    @property
    def tag(self) -> str:
        """The workflow that the run is of, or else its own id."""
        return self.labels.get("workflow") or self._uid

    @property
    def parameters(self) -> Record:
        """A copy of the run's parameters."""
        return deepcopy(self._parameters)

    @property
    def state(self) -> str:
        """The state of the run."""
        return str(self._full.state if self._full else self.record["status"]["state"])

    @property
    def error(self) -> str:
        """What the run has failed with; "" if it hasn't."""
        error = self._full._error if self._full else self.record["status"].get("error")
        return str(error or "")

    def to_dict(self) -> Record:
        """Give the run's record."""
        return self.record

    def set_label(self, key: str, value: Any, replace: bool = True) -> None:
        """Set a label, which is written with what comes next."""
        if replace or not self.labels.get(key):
            self.labels[key] = str(value)

    def set_annotation(self, key: str, value: Any, replace: bool = True) -> None:
        """Set an annotation, which is written with what comes next."""
        if replace or not self.annotations.get(key):
            self.add("metadata", "annotations", {key: str(value)})

    def log_results(self, results: Mapping[str, Any], commit: bool = False) -> None:
        """Record results."""
        if not all(type(value) in JSON for value in results.values()):
            return self.full.log_results(results, commit)
        self.add("status", "results", results)
        return self.update_run()

    def log_artifact(self, item: Any, *args: Any, **kwargs: Any) -> Any:
        """Record an artifact: by a record of it, `db_key` and `tag`, or as MLRun does."""
        if isinstance(item, dict):
            return self._log_record(item, *args, **kwargs)
        return self.full.log_artifact(item, *args, **kwargs)

    def _log_record(self, item: Record, db_key: str, tag: str = "") -> Record:
        """Record an artifact whose file is in place, and give its record as it is written."""
        metadata, spec = item["metadata"], item["spec"]
        metadata |= {"project": self.project, "iter": self.iteration, "tree": self.tag}
        metadata |= {"tag": tag} if tag else {}
        spec["db_key"] = db_key
        uri = f"{self.project}/{self.uid}"
        spec["producer"] = {"name": self.name, "kind": "run", "uri": uri}
        spec["producer"]["owner"] = self.labels.get("owner")
        if workflow := self.labels.get("workflow"):
            spec["producer"]["workflow"] = metadata["labels"]["workflow-id"] = workflow
        if item["kind"] == "model":
            _write_specification(item)
        if self.inputs:
            spec["sources"] = [{"name": key, "path": str(uri)} for key, uri in self.inputs.items()]
        # By name, for MLRun has them in another order; and past its interface, which lacks one.
        where: Record = {"project": self.project, "iter": self.iteration, "tree": self.tag}
        where |= {"tag": tag, "latest": self.is_latest}
        stored = Store.store_artifact(self._store, db_key, item, **where)
        self.add("status", "artifact_uris", {metadata["key"]: artifact_uri(stored, tag)})
        self.update_run()
        return stored

    def set_state(
        self, execution_state: str | None = None, error: str | None = None, commit: bool = True
    ) -> None:
        """Set the run's state, or the error that it has ended with."""
        if self._full:
            return self._full.set_state(execution_state, error, commit)
        status = self.record["status"]
        if error is not None:
            status.update(state="error", error=str(error))
        elif execution_state and status["state"] != "error":
            status["state"] = execution_state
        return self.update_run() if commit else None

    def commit(self, message: str = "", completed: bool = False) -> None:
        """Write what is known of the run, and complete it if it is running."""
        if self._full or message:
            return self.full.commit(message, completed)
        if completed and self.state == "running":
            self.record["status"]["state"] = "completed"
        return self.update_run()

    def update_run(self) -> None:
        """Write what this context knows of the run; what others have changed there stays."""
        status, sends = self.record["status"], self._rundb is not None
        if sends:
            # MLRun's own context may have been told to end it.
            status["state"] = self.state
            status["last_update"] = now()
        added, is_change = self._added, self._is_change()
        with self._store.transaction():
            is_known = self._store.run_version(*self._place) == self._version
            if is_change:
                if sends:
                    added.setdefault("status", {})["last_update"] = status["last_update"]
                self._store.add_to_run(added, *self._place)
            else:
                body = self.record if is_known and sends else self._merged()
                self._store.write_run(body, *self._place)
            if is_known or not is_change:
                self._version = self._store.run_version(*self._place)
        self._changes = self._changes + 1 if is_change else 0
        self._has_written(added if is_change else None)

    def take_others(self) -> Record:
        """Take over what others have added to the run, and give its record as the store has it."""
        body = self._store.find_run(*self._place)
        for part, name in DICTS:
            own, theirs = self.record[part][name], body[part].get(name) or {}
            gone = self._sent.get((part, name), set()) - own.keys()
            own.update({n: v for n, v in theirs.items() if n not in own and n not in gone})
            self._sent[part, name] = {*own}
        return body

    def _merged(self) -> Record:
        """Give the run's record with what others have written there, and this context."""
        body = self.take_others()
        for part, name in DICTS:
            body[part][name] = self.record[part][name]
        for part, name in OTHERS if self._rundb else ():
            if name in self.record[part]:
                body[part][name] = self.record[part][name]
        return body

    def refresh(self) -> None:
        """Let a copy have what the store has of the run by now, and nothing else."""
        if (version := self._store.run_version(*self._place)) != self._version:
            found = self._store.find_run(*self._place)
            for part, name in DICTS:
                self.record[part][name].clear()
                self.record[part][name].update(found[part].get(name) or {})
            self._version = version
            self._has_written()

    def send(self) -> None:
        """Write what has come to a copy, if that isn't done."""
        if self._added or self._others != self._state_of_others():
            self.update_run()

    def _has_written(self, added: Record | None = None) -> None:
        self._added, self._others = {}, self._state_of_others()
        if added is None:
            self._sent = {(part, name): {*self.record[part][name]} for part, name in DICTS}
        for part, name in DICTS if added else ():
            self._sent[part, name] |= (added or {}).get(part, {}).get(name, {}).keys()

    def _is_change(self) -> bool:
        """Tell whether what has come since the last time is all that is to be written.

        Not now and then: to write the record whole takes the longer the more it has.
        """
        few = max(FEW, (len(self._results) + len(self.artifact_uris)) // 2)
        is_all = bool(self._added) and self._others == self._state_of_others()
        return is_all and self._changes < few

    def _state_of_others(self) -> tuple[Any, ...]:
        status, dicts = self.record["status"], (self.labels, self.inputs, self._parameters)
        return *map(dict, dicts), status["state"], status.get("error")

    def add(self, part: str, name: str, values: Mapping[str, Any]) -> None:
        """Add to one of the record's `DICTS`, which is written with what comes next."""
        known = self.record[part][name]
        is_other = (known.get(key, value) != value for key, value in values.items())
        if name == "annotations" and any(is_other):
            # That of another result, which has another name now.
            self._others = ()
        known.update(values)
        self._added.setdefault(part, {}).setdefault(name, {}).update(values)


class _Shared:
    """The run database of MLRun's own context of a run, which writes beside another one."""

    def __init__(self, db: Any, context: RunContext) -> None:
        self._db, self._context = db, context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def update_run(self, updates: Record, uid: str, project: str = "", iter: int = 0) -> None:
        """Write what MLRun knows, in which its dicts have what others have added by then."""
        if iter != self._context.iteration:
            self._db.update_run(updates, uid, project, iter=iter)
        elif self._context._rundb is None:
            # A worker doesn't end its parent's run.
            self._context.update_run()
        else:
            self._context.take_others()
            self._db.update_run(updates, uid, project, iter=iter)


def _write_specification(model: Record) -> None:
    """Write what a model is beside it, where MLRun's `get_model` reads it from the folder."""
    import yaml

    parts = {
        part: {name: value for name, value in model[part].items() if name not in OF_THE_RUN}
        for part in ("metadata", "spec")
    }
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(as_json({**model, **parts}), Dumper=dumper)
    file = Path(model["spec"]["target_path"], "model_spec.yaml")
    file.write_text(text, encoding="utf-8")
